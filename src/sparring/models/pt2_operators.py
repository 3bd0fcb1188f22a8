"""The operators that an exported program may call: arithmetic on tensors and sizes, and nothing that reaches files, devices or other memory.

Listed one by one. The rule behind the list: an operator computes its answer from its arguments alone, or writes into a tensor that the program itself
made; it takes no storage, stream, file, generator or object of a class, checks its indices, and is not one of the private kernels (_name) but for those
that torch.export writes. So `from_file`, `set_`, `resize_`, `empty`, `as_strided_`, the sparse constructors, and the kernels of single backends are missing.
"""

import re

import torch

ATEN = frozenset(
    """
    abs acos acosh add addbmm addcdiv addcmul addmm addmv addr asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor bmm ceil celu clamp clamp_max clamp_min clip copysign cos cosh deg2rad digamma div divide dot einsum elu eq erf erfc
    erfinv exp exp2 expm1 fill fix float_power floor floor_divide fmax fmin fmod frac ge gelu glu greater greater_equal gt hardshrink hardsigmoid hardswish
    hardtanh heaviside hypot i0 inner isclose isfinite isin isinf isnan isneginf isposinf kron ldexp le leaky_relu lerp less less_equal lgamma linear log
    log10 log1p log2 log_sigmoid log_softmax logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt masked_fill matmul maximum minimum
    mish mm mul multiply mv nan_to_num ne neg negative not_equal outer polar positive pow prelu rad2deg reciprocal relu relu6 remainder round rrelu rsqrt
    rsub selu sgn sigmoid sign signbit silu sin sinc sinh softmax softplus softshrink special_entr special_erf special_erfc special_erfcx special_expit
    special_log1p special_log_softmax special_ndtr special_softmax special_xlog1py sqrt square sub subtract tan tanh tensordot threshold true_divide trunc
    vdot where xlogy zero

    all amax amin aminmax any argmax argmin argsort bucketize count_nonzero cummax cummin cumprod cumsum diff dist frobenius_norm histc kthvalue
    linalg_vector_norm logcumsumexp logsumexp max mean median min mode msort nanmean nanmedian nansum norm numel prod quantile searchsorted sort std std_mean
    sum topk trace trapezoid unique_consecutive unique_dim var var_mean

    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d affine_grid_generator
    alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear cdist celu channel_shuffle col2im constant_pad_nd conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d convolution cosine_similarity cross_entropy_loss dropout embedding feature_alpha_dropout
    feature_dropout grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru gru_cell im2col instance_norm layer_norm lstm lstm_cell max_pool1d
    max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices mse_loss native_batch_norm native_channel_shuffle
    native_dropout native_group_norm native_layer_norm nll_loss one_hot pad pairwise_distance pixel_shuffle pixel_unshuffle reflection_pad1d
    reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell
    scaled_dot_product_attention unfold upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
    upsample_trilinear3d

    adjoint alias alias_copy arange as_strided atleast_1d atleast_2d atleast_3d bernoulli block_diag broadcast_tensors broadcast_to cartesian_prod cat chunk
    clone column_stack complex concat concatenate conj conj_physical contiguous cross detach detach_copy diag diag_embed diagonal diagonal_copy dim dsplit
    dstack expand expand_as expand_copy eye flatten flip fliplr flipud full full_like gather hsplit hstack imag index index_add index_copy index_fill
    index_put index_select is_nonzero item lift lift_fresh lift_fresh_copy linspace logspace masked_scatter masked_select meshgrid moveaxis movedim narrow
    new_full new_ones new_zeros nonzero nonzero_static normal numpy_T mH mT ones ones_like permute permute_copy rand rand_like randint randint_like randn
    randn_like randperm range ravel real repeat repeat_interleave reshape reshape_as resolve_conj resolve_neg roll rot90 row_stack scalar_tensor scatter
    scatter_add scatter_reduce select select_copy select_scatter size slice slice_copy slice_scatter diagonal_scatter split split_copy split_with_sizes
    split_with_sizes_copy squeeze squeeze_copy stack stride sum_to_size swapaxes swapdims t t_copy take take_along_dim tensor_split tile to transpose
    transpose_copy tril tril_indices triu triu_indices type_as unbind unbind_copy unflatten unfold_copy unsafe_chunk unsafe_split unsafe_split_with_sizes
    unsqueeze unsqueeze_copy view view_as view_as_complex view_as_complex_copy view_as_real view_as_real_copy view_copy vsplit vstack zeros zeros_like

    fft_fft fft_fft2 fft_fftn fft_fftshift fft_fftfreq fft_hfft fft_ifft fft_ifft2 fft_ifftn fft_ifftshift fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft
    fft_rfft2 fft_rfftfreq fft_rfftn stft istft bartlett_window blackman_window hamming_window hann_window kaiser_window cholesky cholesky_solve det
    linalg_cholesky linalg_cholesky_ex linalg_cross linalg_det linalg_diagonal linalg_eigh linalg_eigvalsh linalg_inv linalg_inv_ex linalg_lu_factor
    linalg_lu_solve linalg_matmul linalg_matrix_norm linalg_multi_dot linalg_norm linalg_pinv linalg_qr linalg_slogdet linalg_solve linalg_solve_ex
    linalg_solve_triangular linalg_svd linalg_svdvals linalg_vecdot logdet slogdet

    abs_ acos_ add_ addcdiv_ addcmul_ addmm_ asin_ atan_ bernoulli_ bitwise_and_ bitwise_not_ bitwise_or_ bitwise_xor_ ceil_ celu_ clamp_ clamp_max_
    clamp_min_ clip_ copy_ cos_ cosh_ detach_ div_ divide_ dropout_ elu_ eq_ erf_ exp_ expm1_ fill_ floor_ floor_divide_ fmod_ frac_ ge_ gelu_ gt_
    hardsigmoid_ hardswish_ hardtanh_ index_add_ index_copy_ index_fill_ index_put_ le_ leaky_relu_ lerp_ log_ log1p_ logical_and_ logical_not_ logical_or_
    lt_ masked_fill_ masked_scatter_ mish_ mul_ multiply_ nan_to_num_ ne_ neg_ normal_ pow_ reciprocal_ relu_ relu6_ remainder_ round_ rsqrt_ scatter_
    scatter_add_ scatter_reduce_ selu_ sigmoid_ sign_ silu_ sin_ sinh_ sqrt_ square_ squeeze_ sub_ subtract_ t_ tan_ tanh_ threshold_ transpose_ tril_ triu_
    true_divide_ trunc_ uniform_ unsqueeze_ zero_

    sym_constrain_range sym_constrain_range_for_size sym_numel sym_size sym_storage_offset sym_stride _adaptive_avg_pool2d _adaptive_avg_pool3d
    _assert_async _assert_scalar _assert_tensor_metadata _batch_norm_no_update _cdist_forward _conj _convolution _efficientzerotensor _fft_c2c _fft_c2r
    _fft_r2c _local_scalar_dense _log_softmax _native_batch_norm_legit _native_batch_norm_legit_no_training _neg_view _pdist_forward _prelu_kernel
    _reshape_alias _safe_softmax _scaled_dot_product_flash_attention_for_cpu _shape_as_tensor _softmax _to_copy _trilinear _unsafe_view
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d _weight_norm
    _weight_norm_interface
    """.split()
)
OTHERS = {
    "prims": frozenset("broadcast_in_dim collapse convert_element_type div fill iota split_dim squeeze sum transpose var view_of where".split()),
    "quantized_decomposed": frozenset(
        "quantize_per_tensor dequantize_per_tensor quantize_per_channel dequantize_per_channel choose_qparams quantize_per_token dequantize_per_token".split()
    ),
    "torchvision": frozenset("nms roi_align".split()),
}
ON_NUMBERS = frozenset(
    [f"_operator.{name}" for name in "getitem add sub mul truediv floordiv mod neg pos abs eq ne lt le gt ge and_ or_ not_".split()]
    + [f"math.{name}" for name in "ceil floor trunc sqrt".split()]
    + [f"torch.{name}" for name in "sym_float sym_int sym_ite sym_max sym_min sym_not sym_sum".split()]
)
"""Functions of Python for sizes. Powers and shifts are missing: one of them can make a number of any length."""


PLAIN = frozenset({"Tensor", "int", "float", "bool", "number", "str", "NoneType", "SymInt", "ScalarType", "Layout", "Device", "MemoryFormat", "Generator"})
"""Types of arguments. A device is checked where the file names it; a generator cannot be written in a file."""

ANSWERS = frozenset({"Tensor", "int", "float", "bool", "number", "SymInt", "()"})


def is_pure(target: str) -> bool:
    """Return whether an exported program may call what stands under this dotted name.

    The overload has to take and return tensors and numbers: those of TorchScript for strings and lists are refused.

    >>> is_pure("torch.ops.aten.relu.default"), is_pure("torch.ops.aten.from_file.default"), is_pure("torch.ops.aten.add.str")
    (True, False, False)
    """
    if target in ON_NUMBERS:
        return True
    beginning, _, rest = target.partition("torch.ops.")
    library, *names = rest.split(".")
    if beginning or len(names) != 2 or names[0] not in (ATEN if library == "aten" else OTHERS.get(library, ())):
        return False
    packet = getattr(getattr(torch.ops, library), names[0], None)
    if packet is None or names[1] not in packet.overloads():
        return False
    schema = getattr(packet, names[1])._schema
    return not any(one.is_out for one in schema.arguments) and (
        all(_bare(one.type) in PLAIN for one in schema.arguments) and all(_bare(one.type) in ANSWERS for one in schema.returns)
    )


def _bare(kind: object) -> str:
    """A type without the lists and options around it."""
    name = str(kind)
    while inner := re.fullmatch(r"(?:Optional|List)\[(.*)\]", name):
        name = inner[1]
    return name
