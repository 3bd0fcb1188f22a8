"""Slips in how a model is asked, and in the network that is read from it."""

from slips.plant import Slip

AS_BEFORE = "laws/test_untouched.py::test_the_module_is_as_before -k fgsm"
OPERATION, ZOO, READ = "graph/test_operators.py", "graph/test_from_torch.py::test_zoo", "graph/test_from_onnx.py::test_operators"

SLIPS = (
    # The user's model
    Slip("the model is left in evaluation mode", "sparring.core.evaluating:evaluating", "for A, B in C: A.training = B", "pass", AS_BEFORE),
    Slip(
        "the model is asked as it was left",
        "sparring.core.evaluating:evaluating",
        "_.eval()",
        "pass",
        "laws/test_untouched.py::test_the_victim_is_asked_in_evaluation_mode",
    ),
    Slip("parameters stay frozen", "sparring.core.evaluating:frozen", "for A, B in C: A.requires_grad_(B)", "pass", AS_BEFORE),
    Slip(
        "every parameter is thawed",
        "sparring.core.evaluating:frozen",
        "for A, B in C: A.requires_grad_(B)",
        "for A, B in C: A.requires_grad_(True)",
        AS_BEFORE,
    ),
    Slip("counters keep counting", "sparring.core.evaluating:evaluating", "_.copy_(_)", "pass", AS_BEFORE),
    Slip("replaced buffers stay replaced", "sparring.core.evaluating:evaluating", "_._buffers[_] = _", "pass", AS_BEFORE),
    Slip(
        "torch's generator is not put back",
        "sparring.core.evaluating:random_states_kept",
        "torch.random.fork_rng(devices=_)",
        "contextlib.nullcontext()",
        AS_BEFORE,
    ),
    Slip("NumPy's generator is not put back", "sparring.core.evaluating:random_states_kept", "np.random.set_state(_)", "pass", AS_BEFORE),
    # Networks
    Slip(
        "the adjoint of a convolution forgets its padding",
        "sparring.graph.operators:Conv.adjoint",
        "A - 2 * _",
        "A",
        f"{OPERATION}::test_convolution",
    ),
    Slip(
        "a transposed convolution keeps its weight's sign in bounds",
        "sparring.graph.operators:ConvTranspose.absolute",
        "A.abs()",
        "A",
        f"{OPERATION}::test_transposed_convolution",
    ),
    Slip(
        "a matrix is not transposed on its way back",
        "sparring.graph.operators:Linear.adjoint",
        "A @ B",
        "A @ (B if B.shape[0] != B.shape[1] else B.T)",
        f"{OPERATION}::test_linear",
    ),
    Slip("batch norm forgets the mean", "sparring.graph.builder:Builder.batch_norm", "-A * B", "0 * A * B", f"{ZOO} -k batch"),
    Slip("batch norm divides by the variance", "sparring.graph.builder:Builder.batch_norm", "A.rsqrt()", "1 / A", f"{ZOO} -k batch"),
    Slip("a difference of paddings is not selected", "sparring.graph.builder:Builder.conv", "A = _.pad(A, _)", "pass", f"{ZOO} {READ}"),
    Slip("the padding of a pool wins where all is negative", "sparring.graph.pools:largest", "A = torch.where(B >= 0, B, _)", "A = B", f"{READ} {ZOO}"),
)
