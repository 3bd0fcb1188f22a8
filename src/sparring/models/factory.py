"""Models made by the user's code: package.module:factory."""

import difflib
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from sparring.core.errors import LoadError, SparringError, UnknownName
from sparring.core.victim import Victim
from sparring.models.user_folder import on_path


def made_by(module_name: str, factory_name: str) -> Any:
    """Import the module, with the current folder last on the path, and call the factory.

    A name that stands for a torch module, a fitted estimator or a Victim is taken as it is. LoadError or
    UnknownName for what cannot be imported, is not there, needs arguments or fails.
    """
    where = f"{module_name}:{factory_name}"
    with on_path():
        module = _imported(module_name)
        if not hasattr(module, factory_name):
            known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise UnknownName(f"factory in {module.__file__ or module_name}", factory_name, known)
        factory = getattr(module, factory_name)
        if isinstance(factory, nn.Module | Victim) or (hasattr(factory, "predict") and not isinstance(factory, type)):
            return factory
        if not callable(factory):
            raise LoadError(f"{where} is a {type(factory).__name__}, not a function: give a function without arguments that returns the model")
        needed = _needed(factory)
        if needed:
            raise LoadError(f"{where} needs the arguments {', '.join(needed)}: give a function without arguments that returns the model")
        try:
            model = factory()
        except SparringError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise LoadError(f"{where}() failed: {type(error).__name__}: {error}") from error
    if model is None:
        raise LoadError(f"{where}() returned None: add a return statement that returns the model")
    return model


def _imported(name: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
        _refuse_hidden(name.partition(".")[0])
        return module
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name != missing and not name.startswith(missing + "."):
            raise LoadError(f"{name} imports {missing}, which is not installed: install it first") from error
        near = difflib.get_close_matches(name, _modules(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"modules are looked for in {Path.cwd()} and among the installed packages"
        raise LoadError(f"no module {missing}: {hint}") from error
    except SparringError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise LoadError(f"importing {name} failed: {type(error).__name__}: {error}") from error
    except SystemExit as error:
        raise LoadError(f"importing {name} ended the program: move its script code under if __name__ == '__main__'") from error


def _refuse_hidden(name: str) -> None:
    """LoadError where a module of the current folder has the name of a library, which was imported instead."""
    own = next((path for path in (Path(f"{name}.py"), Path(name) / "__init__.py") if path.is_file()), None)
    found = getattr(sys.modules.get(name), "__file__", None)
    if own is not None and (found is None or not Path(found).resolve().samefile(own)):
        raise LoadError(f"{own} has the name of a library ({found or 'a part of Python'}), which was imported instead: rename it")


def _modules() -> list[str]:
    """Names of modules in the current folder, one package deep."""
    here = Path.cwd()
    files = [*here.glob("*.py"), *here.glob("*/*.py")]
    names = [file.relative_to(here).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__") for file in files]
    return sorted(set(names))


def _needed(factory: Any) -> list[str]:
    """Names of the arguments without default."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in free]
