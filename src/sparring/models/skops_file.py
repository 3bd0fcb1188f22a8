"""Scikit-learn models in .skops files, of types known to be harmless."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

from sparring.core.errors import LoadError
from sparring.core.files import check_members, read_file
from sparring.models.native_arrays import check_arrays

TRUSTED = frozenset(
    {
        "sklearn.tree._tree.Tree",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.utils._bunch.Bunch",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    }
)
"""What scikit-learn's classifiers need beyond the types that skops trusts by itself. Listed one by one: a rule such as
"everything of numpy" would let in functions that run code."""


def read_skops(path: Path) -> Any:
    """Return the model.

    LoadError for a broken file, and for one with types that nobody vouches for.
    """
    import skops.io

    content = read_file(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_members(archive, len(content), str(path))
        found = skops.io.get_untrusted_types(data=content)
        if strange := sorted(set(found) - TRUSTED):
            cure = "if you trust the file, load it in your own factory, package.module:factory"
            raise LoadError(f"{path} holds types that may run code when opened: {', '.join(strange)}: {cure}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # skops warns of other scikit-learn versions; the record names ours
            model = skops.io.loads(content, trusted=found)
        check_arrays(model, str(path))
        return model
    except LoadError:
        raise
    except zipfile.BadZipFile as error:
        raise LoadError(f"{path} is not a valid skops file: write it with skops.io.dump(model, ...)") from error
    except Exception as error:  # skops and the foreign objects raise anything
        raise LoadError(f"{path} cannot be read by skops: {type(error).__name__}: {str(error)[:300]}") from error
