"""What tests/torch_names.py cannot read off the code: why names are not here, and how values or meanings differ."""

#: No operations: flags of the build, helpers of PyTorch's own code.
NO_NAMES = set(
    "PRIVATE_OPS TYPE_CHECKING USE_GLOBAL_DEPS USE_RTLD_GLOBAL_WITH_LIBTORCH classproperty BroadcastingList1 BroadcastingList2 "
    "BroadcastingList3 assert_int_or_pair boolean_dispatch handle_torch_function has_torch_function has_torch_function_unary "
    "has_torch_function_variadic".split()
)
#: Classes of `torch` that a user of tensors meets; the others are the machinery of TorchScript, storage and profiling.
CLASSES = {"Generator", "Size", "Tensor", "device", "dtype", "finfo", "iinfo", "memory_format"}
#: What neither PyTorch's schemas nor signatures say right.
DOCUMENTED = {"as_tensor", "asarray", "tensor"}

#: Arguments that choose how PyTorch computes, not what.
INTERNAL_WORDS = {"_stacklevel", "cudnn_enable", "cudnn_enabled", "implicit", "masked_grad"}
#: Arguments that come with lists in TorchScript, or stand in a docstring for something else.
ARTEFACTS = {"eq.b", "ne.b", "sort.reverse", "set_num_threads.int"}
#: Arguments whose place depends on the others in PyTorch, and here in the same way (or which stand behind `out` there).
MAY_MOVE = set(
    "arange.end randint.high randint.size randint_like.high max.other min.other repeat_interleave.repeats scatter.value "
    "std.unbiased std_mean.unbiased var.unbiased var_mean.unbiased new_empty.size new_ones.size new_zeros.size norm.dtype "
    "polygamma.n polygamma.input requires_grad_.requires_grad to.device to.dtype to.non_blocking to.copy to.memory_format where.other repeat.repeats "
    "softmax.dtype log_softmax.dtype softmin.dtype multinomial.generator bernoulli.generator".split()
)

_LOSSES = (
    "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy hinge_embedding_loss kl_div l1_loss "
    "margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss nll_loss poisson_nll_loss "
    "smooth_l1_loss soft_margin_loss triplet_margin_loss"
).split()

_LOSS_CLASSES = (
    "BCELoss BCEWithLogitsLoss CosineEmbeddingLoss CrossEntropyLoss HingeEmbeddingLoss KLDivLoss L1Loss MSELoss MarginRankingLoss "
    "MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss NLLLoss2d PoissonNLLLoss SmoothL1Loss SoftMarginLoss "
    "TripletMarginLoss"
).split()
_NO_OLD_REDUCTION = (
    "without `size_average` and `reduce`, which PyTorch deprecates in favour of `reduction`; the arguments behind them are given by name"
)

#: How a name differs, in place of what is found in its arguments where it is in COVERS.
DIFFERS = {
    **{
        f"torch.nn.functional.{name}": _NO_OLD_REDUCTION
        for name in _LOSSES
    },
    **{f"torch.nn.{name}": _NO_OLD_REDUCTION for name in _LOSS_CLASSES},
    "torch.Tensor.view": "of a dtype it is a copy, computed at once, without a derivative",
    "torch.as_strided": "gathers a new tensor, no view: no storage lies behind a tensor",
    "torch.Tensor.as_strided": "gathers a new tensor, no view: no storage lies behind a tensor",
    "torch.vmap": "`randomness` is 'same' unless it is given, and 'different' is for draws of a fixed number of random numbers",
    "torch.Tensor.to_dense": "all tensors are dense: itself",
    "torch.Tensor.shape": "a plain tuple",
    "torch.Tensor.size": "a plain tuple",
    "torch.broadcast_shapes": "a plain tuple",
    "torch.Tensor.unfold": "a copy, no view: writes into it do not reach the tensor",
    "torch.set_printoptions": "NumPy's `set_printoptions`, whose arguments it takes",
    "torch.Tensor.type": "names are those of dtypes: 'pydiff.float32' in place of 'torch.FloatTensor'",
    "torch.empty_like": "filled with zeros",
    "torch.empty": "filled with zeros",
    "torch.from_numpy": "the array must lie in the order of its axes; later writes into the tensor do not reach the array; "
    "what is pending reads the array when it is computed",
    "torch.Tensor.numpy": "an array that cannot be written to",
    "torch.Tensor.grad_fn": "names of operations are pydiff's",
    "torch.Generator": "numbers of another stream: Philox on every device",
    "torch.manual_seed": "numbers of another stream: Philox on every device",
    "torch.complex64": "stored and moved; no operation computes in it yet",
    "torch.complex128": "stored and moved; no operation computes in it yet",
    "torch.cfloat": "stored and moved; no operation computes in it yet",
    "torch.cdouble": "stored and moved; no operation computes in it yet",
    "torch.svd_lowrank": "of `niter` power iterations with factors in between; other random numbers",
    "torch.set_num_threads": "of pydiff's own threads",
    "torch.load": "reads safetensors and PyTorch's zip files, and never runs what is in one; `map_location` is a device, and where "
    "none is given the CPU; no `pickle_module`",
    "torch.save": "writes safetensors, with JSON for the rest, of plain containers: no modules; no `pickle_module`, `pickle_protocol`",
}
COVERS = {name for name in DIFFERS if name != "torch.empty_like"}

NUMPY_DIFFERS = {
    "load": "reads safetensors and PyTorch's files, no `.npy`", "save": "of an object and a path: writes safetensors, no `.npy`",
    "nanvar": "`ddof` is 1 where it is not given, as in PyTorch's `var`", "nanstd": "`ddof` is 1 where it is not given, as in PyTorch's `std`",
    "var": "`ddof` is 1 where it is not given, as in PyTorch", "std": "`ddof` is 1 where it is not given, as in PyTorch",
    "max": "with an axis (values, indices), as in PyTorch; `amax` is NumPy's", "min": "with an axis (values, indices), as in PyTorch; `amin` is NumPy's",
    "sort": "(values, indices), as in PyTorch", "split": "of a size of parts, as in PyTorch; `array_split` takes their number",
    "transpose": "swaps two axes, as in PyTorch; `permute` is NumPy's", "repeat": "tiles, as in PyTorch; `repeat_interleave` is NumPy's",
    "median": "the lower of two middle elements, as in PyTorch; `quantile(x, 0.5)` is NumPy's", "nanmedian": "the lower of two middle elements, as in PyTorch",
    "unique": "PyTorch's arguments: `return_counts`, `dim`", "cov": "PyTorch's arguments: `correction`", "pad": "PyTorch's arguments: the last axis comes first",
    "dot": "of two vectors, as in PyTorch; `matmul` takes matrices", "cross": "axes of size 3 only, as in PyTorch", "select": "PyTorch's: one position of an axis",
    "take": "of the flattened tensor, as in PyTorch; `index_select` takes an axis", "gradient": "PyTorch's `spacing`", "histogram": "PyTorch's: float edges, no integers",
    "empty": "filled with zeros", "empty_like": "filled with zeros", "geomspace": "results have the default dtype", "identity": "in the default dtype", "tri": "in the default dtype",
    "zeros": "in the default dtype", "ones": "in the default dtype", "eye": "in the default dtype", "linspace": "`steps` has no default, as in PyTorch", "logspace": "`steps` has no default, as in PyTorch",
    "full": "in the value's dtype, of floats the default one", "vander": "falling powers, as in both", "searchsorted": "PyTorch's arguments: `right`",
    "argsort": "stable", "array": "`dtype` and `device` only", "result_type": "of tensors and numbers, by PyTorch's rules", "promote_types": "by PyTorch's rules",
    "can_cast": "by PyTorch's rules", "cumsum": "the axis must be named, as in PyTorch; `cumulative_sum` flattens without one",
    "cumprod": "the axis must be named, as in PyTorch; `cumulative_prod` flattens without one", "mean": "not of integers, as in PyTorch",
    "meshgrid": "`indexing` is 'ij' where it is not given, as in PyTorch", "nonzero": "one tensor (count, axes), as in PyTorch; `as_tuple=True` is NumPy's",
    "outer": "of two vectors, as in PyTorch", "put": "a new tensor, as in PyTorch; `put_` writes", "round": "`decimals` by name, as in PyTorch; `around` is NumPy's",
    "trace": "of a matrix's main diagonal, as in PyTorch", "tril_indices": "PyTorch's arguments: (row, col, offset)", "triu_indices": "PyTorch's arguments: (row, col, offset)",
    "equal": "one truth value, as in PyTorch; `eq` is NumPy's",
    "frombuffer": "`dtype` by name and always, as in PyTorch", "permute_dims": "the axes must be named", "concatenate": "the axis is never None", "concat": "the axis is never None",
    "histogramdd": "PyTorch's arguments and dtypes",
"interp": "without `left`, `right` and `period`",
}  # fmt: skip

_COMPLEX = "complex numbers and Fourier transforms are not here yet; real numbers have all that needs neither"
_SPARSE = "sparse tensors are not here yet: every tensor is dense"
_QUANTIZED = "quantized tensors: a PyTorch interface of its own, which it moves out to torchao; here int8 is a number like any other"
_NESTED = "ragged (nested) tensors are a prototype of PyTorch's"
_STORAGE = "no storage lies behind a tensor: a value is made when it is needed, and its memory may go or move; `__dlpack__` gives memory out"
_SHAPE = "a tensor's number of elements never changes: make another one (`x = x.reshape(…)`, `pydiff.cat`)"
_COPY = "the copy of a view is the view and `.clone()`"
_DEVICES = "other kinds of devices and their libraries; here are the CPU and CUDA"
_LIBRARY = "how PyTorch calls a library or a device; the function without the library's name is here"
_JIT = "the machinery of TorchScript and of torch.compile"
_AUTOCAST = "`pydiff.autocast` turns automatic casts on and off, the only way to; casts are not cached"
_BEHIND = "PyTorch's undocumented entry behind a function of `nn.functional`, with other arguments; that function is here"
_REMOVED = "removed from PyTorch itself (it raises), or deprecated there"
_INTERNAL = "internal to PyTorch"
_ONE_SET = "one pool of threads, `set_num_threads`; no second one between operations"
_RNN = "PyTorch's undocumented entry behind its recurrent layers, `nn.RNN`, `nn.LSTM`, `nn.GRU`, which are here"
_EIGHT = "8-bit floats and their scaled products are for one family of GPUs; 16-bit floats are here"
_FLAG = "a switch of PyTorch's own messages or libraries, without a meaning here"
_UNITS = "PyTorch has no operation for it either: a type for storage or for compilers"

_T, _M, _F, _L = "torch", "torch.Tensor", "torch.nn.functional", "torch.linalg"
#: (sections, pattern of whole names, why), the first that fits.
ABSENT = [
    (f"{_T}, {_M}, {_L}", r"fft|i?stft|complex|complex32|chalf|cdouble|cfloat|imag|polar|view_as_(complex|real)(_copy)?|eig|eigvals", _COMPLEX),
    (f"{_T}, {_M}", r".*sparse.*|.*_?(coo|csr|csc|bsr|bsc)|(c?col|c?row|crow)_indices(_copy)?|indices(_copy)?|values(_copy)?|coalesce|is_coalesced|"
     r"saddmm|sspaddmm|smm|spmm|dsmm|hsmm|hspmm", _SPARSE),
    (f"{_T}, {_M}", r".*quant.*|q_.*|qscheme|q(u?int)\d+(x\d+)?|fake_quant.*|fused_moving.*|per_(tensor|channel)_.*|int_repr|fbgemm_.*|choose_qparams.*", _QUANTIZED),
    (f"{_T}, {_M}", r"jagged|to_padded_tensor|is_nested", _NESTED),
    (_T, r"u?int[1-7]|bits.*|bit|float4.*|legacy_contiguous_format", _UNITS),
    (f"{_T}, {_F}", r"float8.*|(scaled_)?grouped_mm|scaled_(grouped_)?mm", _EIGHT),
    (f"{_T}, {_M}", r"(untyped_)?storage(_type|_offset)?|is_storage|set_|data_ptr|const_data_ptr|"
     r"is_set_to|from_file|empty_(permuted|strided)|new_empty_strided|as_strided_|record_stream|dim_order", _STORAGE),
    (_M, r"is_pinned|pin_memory", "copies to a GPU go through pinned memory of pydiff's own and never wait for it"),
    (_M, r"is_shared|share_memory_", "memory between processes: `from_numpy` of an array in `multiprocessing.shared_memory`"),
    (f"{_T}, {_M}", r"resize(_as)?_?", _SHAPE),
    (f"{_T}, {_M}", r".*_copy|slice_inverse", _COPY),
    (f"{_T}, {_M}", r"unsafe_(chunk|split|split_with_sizes)", "PyTorch's word for views that it does not track; `chunk` and `split` are safe"),
    (_T, r"cudnn_.*|miopen_.*|mkldnn_.*|batch_norm_(backward|elemt|gather|stats|update).*|native_.*|.*_cudnn_.*", _LIBRARY),
    (_M, r"xpu|ipu|mtia|is_(ipu|maia|mtia|vulkan|xla|mps|xpu|mkldnn)|to_mkldnn", _DEVICES),
    (_T, r"is_vulkan_available|get_device_module|has_(lapack|mkl|openmp|spectral)|compiled_with_cxx11_abi|AVG|SUM|thread_safe_generator", _FLAG),
    (_T, r".*autocast.*", _AUTOCAST),
    (_T, r"import_ir_module.*|parse_.*|merge_type.*|unify_type.*|fork|wait|sym_.*|get_file_path|prepare_multi.*|init_num_threads|profiler_.*|typename", _JIT),
    (_T, r"compile", "every function is fused and compiled without being asked"),
    (_T, r"cond|while_loop", "Python's own `if` and `while`, which look at a value"),
    (_T, r"(gru|lstm|rnn_relu|rnn_tanh)(_cell)?", _RNN),
    (_T, r"batch_norm|instance_norm|embedding(_bag|_renorm_)?|binary_cross_entropy_with_logits|(cosine|hinge)_embedding_loss|ctc_loss|kl_div|"
     r"margin_ranking_loss|poisson_nll_loss|triplet_margin_loss|affine_grid_generator|grid_sampler|(feature_)?(alpha_)?dropout_|feature_dropout|"
     r"convolution|norm_except_dim|frobenius_norm|nuclear_norm", _BEHIND),
    (f"{_T}, {_F}", r"native_.*", _LIBRARY),
    (f"{_T}, {_M}", r"symeig|solve|lstsq|matrix_rank|range|set_default_tensor_type|volatile|reinforce", _REMOVED),
    (_T, r"(get|set)_num_interop_threads", _ONE_SET),
    (_T, r"(get|set)_float32_matmul_precision", "products of float32 are computed in float32"),
    (_T, r"set_flush_denormal", "denormal numbers are always kept"),
    (_T, r"is_anomaly.*|set_anomaly.*", "a NaN hunt is not here yet; `PYDIFF_DEBUG` tells what ran"),
    (_T, r"(get|set)_deterministic_debug_mode|is_deterministic_algorithms_warn.*", "`deterministic` is one switch, on at the start"),
    (f"{_T}, {_M}", r"is_inference(_mode_enabled)?", "`inference_mode` is `no_grad`, so no tensor is marked; `is_grad_enabled` tells"),
    (_T, r"set_warn_always|is_warn_always_enabled", _FLAG),
    (_T, r"Size", "shapes are plain tuples"),
    (f"{_T}, {_M}", r"layout|strided", "one layout: every tensor is dense"),
    (_T, r"lobpcg", "a few eigenvalues of a large sparse matrix; dense ones have `linalg.eigh`"),
    (_T, r"segment_reduce", "a prototype of PyTorch's; `scatter_reduce` does it"),
    (_L, r"ldl_.*", "the factors of indefinite symmetric matrices, experimental in PyTorch; `lu_factor` solves such systems"),
    (_M, r"register_post_accumulate_grad_hook", "`register_hook` sees a gradient; `optim` steps once for all parameters"),
    (_M, r"as_subclass|module_load|grad_dtype|map2_|name|output_nr|index", _INTERNAL),
    (f"{_T}, {_M}", r"hash_tensor|is_distributed", _INTERNAL),
    ("torch.nn", r"DataParallel|SyncBatchNorm|Container|NLLLoss2d", "of several GPUs or processes, or removed from PyTorch's own pages"),
    ("torch.nn", r"CrossMapLRN2d", "PyTorch's older `LocalResponseNorm`"),
    ("torch.nn", r"LinearCrossEntropyOptions|factory_kwargs", _INTERNAL),
    ("torch.nn.Module", r"ipu|mtia|xpu", _DEVICES),
    ("torch.nn.Module", r"compile", "every model is fused and compiled without being asked"),
    ("torch.nn.Module", r"register_backward_hook", "deprecated in PyTorch: `register_full_backward_hook` sees the right gradients"),
    ("torch.nn.Module", r"share_memory", "memory between processes: `save` and `load`, which maps a file"),
    ("torch.nn.init", r"constant|dirac|eye|(kaiming|xavier)_(normal|uniform)|normal|orthogonal|sparse|uniform",
     "deprecated in PyTorch for the same name with an underscore"),
    ("torch.nn.utils", r"clip_grad_norm", "deprecated in PyTorch for `clip_grad_norm_`"),
    ("torch.nn.utils", r"convert_conv[23]d_weight_memory_format", "`model.to(memory_format=pydiff.channels_last)`"),
    ("torch.nn.utils.rnn, torch.nn.utils.parametrize, torch.optim.lr_scheduler", r"PackedSequence_|bind|Module|Optimizer", _INTERNAL),
    ("torch.optim", r"swap_in_optimizer_params_and_state", _INTERNAL),
    ("torch.func", r"debug_unwrap|functionalize", "there is nothing to unwrap: values are immutable"),
    ("torch.func", r"rearrange", "`einsum`, `reshape` and `permute`, or the package einops"),
    ("torch.func", r"replace_all_batch_norm_modules_", "`BatchNorm2d(…, track_running_stats=False)`"),
    ("torch.amp", r"is_autocast_available", "it is, on every device"),
    ("torch.utils.data", r"(Iter|Map|DFIter)DataPipe|DataChunk|.*datapipe.*|argument_validation|non_deterministic|runtime_validation.*",
     "the data pipes that PyTorch has moved out"),
    ("torch.utils.data", r"argument_validation|guaranteed_.*", "the data pipes that PyTorch has moved out"),
    ("numpy ufuncs", r"isnat", "no dates: elements are numbers"),
    ("numpy functions", r".*(busday|datetime).*|isnat", "no dates: elements are numbers"),
    ("numpy functions", r"imag|iscomplex.*|isrealobj|real_if_close|sort_complex", _COMPLEX),
    ("numpy functions", r"(save|load).*|.*from(file|regex|txt|string|iter)|fromfunction|genfromtxt|(array2|base_|binary_)(string|repr)|array_(repr|str)|"
     r"format_float.*|info|printoptions|get_printoptions|memmap|typename", "files and text: of `x.numpy()`, NumPy's own"),
    ("numpy functions", r"(get|set)(bufsize|err|errcall)|get_include|show_.*|test|info|errstate", "NumPy's own settings and facts"),
    ("numpy functions", r"asmatrix|bmat|asanyarray|asarray_chkfinite|ascontiguousarray|asfortranarray|require|isfortran|may_share_memory|"
     r"shares_memory|nested_iters|iterable|isscalar", "of arrays' memory and classes; `asarray`, `contiguous()` and `is_contiguous()` are here"),
    ("numpy functions", r"mintypecode|min_scalar_type|common_type|isdtype|issubdtype|astype",
     "`x.to(dtype)`, `x.dtype.is_floating_point`, `result_type`, `promote_types` and `can_cast`"),
    ("numpy functions", r"ndim|shape|size", "the tensor's own: `x.ndim`, `x.shape`, `x.numel()`"),
    ("numpy functions", r"frompyfunc|apply_(along_axis|over_axes)|piecewise|choose", "a Python call for each element or slice: `vmap`, `where`, `take_along_dim`"),
    ("numpy functions", r"place|putmask|copyto|put_along_axis|fill_diagonal|insert|resize", "writes: `x[mask] = v`, `copy_`, `scatter_`, `fill_diagonal_`; joins: `cat`"),
    ("numpy functions", r"lexsort|partition|argpartition", "`sort` (stable), `topk` and `kthvalue`"),
    ("numpy functions", r"unique_(all|counts|inverse|values)", "`unique` with `return_inverse` and `return_counts`"),
    ("numpy functions", r"mask_indices|diag_indices_from|tri[lu]_indices_from", "of a shape: `tril_indices(n, m)`, `triu_indices(n, m)`, `diag_indices(n)`"),
    ("numpy functions", r"packbits|unpackbits", "`bitwise_right_shift` and a sum of powers of two; one truth value is one byte"),
    ("numpy functions", r"histogram2d|histogram_bin_edges", "`histogramdd`; edges are what `histogram` gives second"),
    ("numpy functions", r"block|trim_zeros|einsum_path", "`cat` of `cat`s, a slice, or nothing to choose: `einsum` finds its own order"),
    ("numpy functions", r"bartlett|blackman|hamming|hanning|kaiser", "`signal.windows`, or `bartlett_window(n, periodic=False)` and kin"),
    ("numpy functions", r"poly.*|roots", "NumPy's older polynomials; `polyval` is here"),
]  # fmt: skip

HEAD = """# Names of PyTorch and NumPy in pydiff

Written by `python tests/torch_names.py --write`, with PyTorch {torch} and NumPy {numpy}. Each public name of `torch` (functions, dtypes,
constants, and the few classes that users of tensors meet), `torch.Tensor`, `torch.nn.functional`, `torch.linalg`,
`torch.special`, and of `torch.nn`, `torch.optim`, `torch.utils.data`, `torch.amp`, `torch.func` and their parts, is looked up under the
same name in pydiff.

- **same**: it is here, and takes every argument that PyTorch's schemas and signatures name, by position and by keyword; of a class
  its constructor does. That values agree is tested on PyTorch's own samples: of operations ([TORCH.md](TORCH.md)), of modules
  and optimisers (`tests/nn/`).
- **differs**: it is here, with the difference that is told.
- **no**: it is not here; names with one reason stand together.

`out=` is taken nowhere: a result is a value that is computed later, and `x.copy_(f(…))` or `f_` writes it into a tensor. Nor are
`layout=` and `pin_memory=`: tensors are dense, and copies to a GPU never wait. NumPy's `axis`, `keepdims` and `ddof` are taken for
`dim`, `keepdim` and `correction` everywhere. Of NumPy's functions **same** means the meaning on tensors, tested against NumPy
(`tests/device/test_numpy_names.py`, `test_op_table.py`); dtypes follow PyTorch's promotion, and `where=`, `order=` and `like=` are not taken.

"""
