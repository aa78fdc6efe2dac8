// Reductions with PyTorch's signatures.
#include "python/args.h"
#include "python/autocast.h"

namespace pd {
namespace binding {

namespace {

DType sum_type(const Var& x, PyObject* dtype) {
  if (given(dtype)) return dtype_arg(dtype);
  return is_floating(x.dtype()) || is_complex(x.dtype()) ? x.dtype() : DType::I64;
}

// sum, prod, mean: (input, dim, keepdim, dtype)
template <OpId id>
PyObject* total(PyObject** a, const char* name) {
  Var x = tensor_arg(name, a[0]);
  if (!given(a[3])) x = wide(x);
  const DType d = sum_type(x, a[3]);
  if (id == op::reduce_sum && x.dtype() == d && is_floating(d))
    return wrap(stable::sum(x, head_of(a[0], x), axes_arg(name, a[1]), bool_arg(a[2], false)));
  return wrap(cast(reduce(id, cast(x, d), axes_arg(name, a[1]), bool_arg(a[2], false)), d));
}
PyObject* sum_body(PyObject** a) { return total<op::reduce_sum>(a, "sum"); }
PyObject* prod_body(PyObject** a) { return total<op::reduce_prod>(a, "prod"); }

PyObject* mean_body(PyObject** a) {
  Var x = tensor_arg("mean", a[0]);
  if (given(a[3])) x = cast(x, dtype_arg(a[3]));
  if (!is_floating(x.dtype()) && !is_complex(x.dtype()))
    fail("mean", "the mean of integers is not an integer", name_of(x.dtype()), "x.float().mean()", ErrorKind::Runtime);
  return wrap(stable::mean(x, head_of(a[0], x), axes_arg("mean", a[1]), bool_arg(a[2], false)));
}

// var, std: (input, dim, unbiased, keepdim, correction); var(True) is var(unbiased=True)
Var spread(PyObject** a, const char* name) {
  Var x = tensor_arg(name, a[0]);
  PyObject *dim = a[1], *unbiased = a[2];
  if (dim && PyBool_Check(dim)) {
    unbiased = dim;
    dim = nullptr;
  }
  double correction = given(a[4]) ? float_arg(name, a[4], "correction") : bool_arg(unbiased, true) ? 1.0 : 0.0;
  if (!is_floating(x.dtype()))
    fail(name, "only floating tensors have one", name_of(x.dtype()), "x.float()", ErrorKind::Runtime);
  return var(x, axes_arg(name, dim), correction, bool_arg(a[3], false));
}
PyObject* var_body(PyObject** a) { return wrap(spread(a, "var")); }
PyObject* std_body(PyObject** a) { return wrap(unary(op::sqrt, spread(a, "std"))); }

// any, all: of truth
template <OpId id>
PyObject* truth(PyObject** a, const char* name) {
  Var x = tensor_arg(name, a[0]);
  if (!is_bool(x.dtype())) x = binary(op::ne, x, number(int64_t{0}, x.device()));
  return wrap(reduce(id, x, axes_arg(name, a[1]), bool_arg(a[2], false)));
}
PyObject* any_body(PyObject** a) { return truth<op::reduce_any>(a, "any"); }
PyObject* all_body(PyObject** a) { return truth<op::reduce_all>(a, "all"); }

// y = op(x) over the axes; a maximum is remembered as that.
stable::Recorded extreme_of(OpId op, Var y, const Var& x, const Axes& axes) {
  return op == op::reduce_max ? stable::largest(std::move(y), x, axes) : stable::Recorded(std::move(y));
}

template <OpId id>
PyObject* extreme_values(PyObject** a, const char* name) {
  const Var x = tensor_arg(name, a[0]);
  const Axes axes = axes_arg(name, a[1]);
  return wrap(extreme_of(id, reduce(id, x, axes, bool_arg(a[2], false)), x, axes));
}
PyObject* amax_body(PyObject** a) { return extreme_values<op::reduce_max>(a, "amax"); }
PyObject* amin_body(PyObject** a) { return extreme_values<op::reduce_min>(a, "amin"); }

template <OpId id>
PyObject* position(PyObject** a, const char* name) {
  Var x = tensor_arg(name, a[0]);
  if (!given(a[1])) return wrap(arg_reduce(id, x, nullptr, bool_arg(a[2], false)));
  int64_t dim = int_arg(name, a[1], "dim");
  return wrap(arg_reduce(id, x, &dim, bool_arg(a[2], false)));
}
PyObject* argmax_body(PyObject** a) { return position<op::argmax>(a, "argmax"); }
PyObject* argmin_body(PyObject** a) { return position<op::argmin>(a, "argmin"); }

// max, min: without dim the value; with dim (values, indices); with a tensor the elementwise one
PyObject* extreme(PyObject** a, const char* name, OpId red, OpId arg, OpId pair, PyObject* named) {
  Var x = tensor_arg(name, a[0]);
  if (given(a[1]) && (is_tensor(a[1]) && !value_of(a[1]).shape().empty()))
    return wrap(binary(pair, x, value_of(a[1])));
  if (given(a[1]) && is_tensor(a[1]) && is_floating(value_of(a[1]).dtype())) return wrap(binary(pair, x, value_of(a[1])));
  bool keep = bool_arg(a[2], false);
  if (!given(a[1])) return wrap(extreme_of(red, reduce(red, x, Axes(), keep), x, Axes()));
  int64_t dim = int_arg(name, a[1], "dim");
  Var at = arg_reduce(arg, x, &dim, true);
  Var v = gather(x, normalize_axis(name, dim, x.shape().size()), at);
  Axes one;
  one.all = false;
  one.list.push_back(normalize_axis(name, dim, x.shape().size()));
  if (x.shape().empty()) {
    v = x;
    at = zeros({}, DType::I64, x.device());
  } else if (!keep) {
    v = squeeze(v, one);
    at = squeeze(at, one);
  }
  py::object values = py::reinterpret_steal<py::object>(wrap(extreme_of(red, v, x, one)));
  py::object indices = wrapped(at);
  return checked(PyObject_CallFunctionObjArgs(named, values.ptr(), indices.ptr(), nullptr));
}

PyObject* g_max_pair = nullptr;
PyObject* g_min_pair = nullptr;
PyObject* max_body(PyObject** a) {
  return extreme(a, "max", op::reduce_max, op::argmax, op::maximum, g_max_pair);
}
PyObject* min_body(PyObject** a) {
  return extreme(a, "min", op::reduce_min, op::argmin, op::minimum, g_min_pair);
}
PyObject* set_pairs(PyObject*, PyObject* const* args, Py_ssize_t, PyObject*) {
  g_max_pair = same(args[0]);
  g_min_pair = same(args[1]);
  return none();
}

PyObject* logsumexp_body(PyObject** a) {
  return wrap(logsumexp(tensor_arg("logsumexp", a[0]), axes_arg("logsumexp", a[1]), bool_arg(a[2], false)));
}
template <class Result, Result (*F)(const Var&, int64_t)>
PyObject* along(PyObject** a, const char* name) {
  Var x = tensor_arg(name, a[0]);
  x = given(a[2]) ? cast(x, dtype_arg(a[2])) : wide(x);
  return wrap(F(x, int_arg(name, a[1], "dim")));
}
PyObject* softmax_body(PyObject** a) { return along<stable::Recorded, stable::softmax>(a, "softmax"); }
PyObject* log_softmax_body(PyObject** a) { return along<Var, log_softmax>(a, "log_softmax"); }
PyObject* cumsum_body(PyObject** a) {
  Var x = tensor_arg("cumsum", a[0]);
  if (!given(a[2])) x = wide(x);
  const DType d = sum_type(x, a[2]);
  return wrap(cast(cumsum(cast(x, d), int_arg("cumsum", a[1], "dim")), d));
}

#define PD_EXAMPLE(call, result) ">>> import pydiff as pd\n>>> " call "\n" result "\n"

constexpr Def kSum = {"sum", sum_body, 1, -1,
                      "sum(input, dim=None, keepdim=False, dtype=None)\n--\n\nSum over `dim`, or over all axes. Integers and "
                      "booleans are summed as int64.\n\n" PD_EXAMPLE("pd.tensor([[1, 2], [3, 4]]).sum(0).tolist()", "[4, 6]"),
                      {"input", "dim", "keepdim", "dtype"}};
constexpr Def kProd = {"prod", prod_body, 1, -1,
                       "prod(input, dim=None, keepdim=False, dtype=None)\n--\n\nProduct over `dim`, or over all axes.\n\n" PD_EXAMPLE(
                           "pd.tensor([2, 3]).prod().item()", "6"),
                       {"input", "dim", "keepdim", "dtype"}};
constexpr Def kMean = {"mean", mean_body, 1, -1,
                       "mean(input, dim=None, keepdim=False, dtype=None)\n--\n\nMean over `dim`, or over all axes.\n\n" PD_EXAMPLE(
                           "pd.tensor([1., 3.]).mean().item()", "2.0"),
                       {"input", "dim", "keepdim", "dtype"}};
constexpr Def kVar = {"var", var_body, 1, -1,
                      "var(input, dim=None, unbiased=True, keepdim=False, *, correction=1)\n--\n\nVariance over `dim`: the sum of "
                      "squared deviations over n - correction.\n\n" PD_EXAMPLE("pd.tensor([1., 3.]).var().item()", "2.0"),
                      {"input", "dim", "unbiased", "keepdim", "correction"}};
constexpr Def kStd = {"std", std_body, 1, -1,
                      "std(input, dim=None, unbiased=True, keepdim=False, *, correction=1)\n--\n\nStandard deviation over "
                      "`dim`, the root of `var`.\n\n" PD_EXAMPLE("pd.tensor([1., 3.]).std(correction=0).item()", "1.0"),
                      {"input", "dim", "unbiased", "keepdim", "correction"}};
constexpr Def kAny = {"any", any_body, 1, -1,
                      "any(input, dim=None, keepdim=False)\n--\n\nWhether any element is true.\n\n" PD_EXAMPLE(
                          "pd.tensor([0, 2]).any().item()", "True"),
                      {"input", "dim", "keepdim"}};
constexpr Def kAllOf = {"all", all_body, 1, -1,
                        "all(input, dim=None, keepdim=False)\n--\n\nWhether all elements are true.\n\n" PD_EXAMPLE(
                            "pd.tensor([0, 2]).all().item()", "False"),
                        {"input", "dim", "keepdim"}};
constexpr Def kAmax = {"amax", amax_body, 1, -1,
                       "amax(input, dim=None, keepdim=False)\n--\n\nLargest element; equal ones share the gradient.\n\n" PD_EXAMPLE(
                           "pd.tensor([[1, 5], [7, 2]]).amax(1).tolist()", "[5, 7]"),
                       {"input", "dim", "keepdim"}};
constexpr Def kAmin = {"amin", amin_body, 1, -1,
                       "amin(input, dim=None, keepdim=False)\n--\n\nSmallest element; equal ones share the gradient.\n\n" PD_EXAMPLE(
                           "pd.tensor([[1, 5], [7, 2]]).amin(1).tolist()", "[1, 2]"),
                       {"input", "dim", "keepdim"}};
constexpr Def kArgmax = {"argmax", argmax_body, 1, -1,
                         "argmax(input, dim=None, keepdim=False)\n--\n\nPosition of the largest element, the first of equal "
                         "ones; without `dim` in the flattened tensor.\n\n" PD_EXAMPLE("pd.tensor([1, 5, 5]).argmax().item()", "1"),
                         {"input", "dim", "keepdim"}};
constexpr Def kArgmin = {"argmin", argmin_body, 1, -1,
                         "argmin(input, dim=None, keepdim=False)\n--\n\nPosition of the smallest element, the first of equal "
                         "ones.\n\n" PD_EXAMPLE("pd.tensor([4, 1, 1]).argmin().item()", "1"),
                         {"input", "dim", "keepdim"}};
constexpr Def kMax = {"max", max_body, 1, -1,
                      "max(input, dim=None, keepdim=False)\n--\n\nWithout `dim` the largest element; with it the named tuple "
                      "(values, indices); with a tensor in its place `maximum`.\n\n" PD_EXAMPLE(
                          "pd.tensor([[1, 5], [7, 2]]).max(1).indices.tolist()", "[1, 0]"),
                      {"input", "dim", "keepdim"}};
constexpr Def kMin = {"min", min_body, 1, -1,
                      "min(input, dim=None, keepdim=False)\n--\n\nWithout `dim` the smallest element; with it the named tuple "
                      "(values, indices); with a tensor in its place `minimum`.\n\n" PD_EXAMPLE(
                          "pd.tensor([[1, 5], [7, 2]]).min().item()", "1"),
                      {"input", "dim", "keepdim"}};
constexpr Def kLogsumexp = {"logsumexp", logsumexp_body, 1, -1,
                            "logsumexp(input, dim=None, keepdim=False)\n--\n\nlog(sum(exp(x))) without overflow.\n\n" PD_EXAMPLE(
                                "pd.tensor([1000.]).logsumexp(0).item()", "1000.0"),
                            {"input", "dim", "keepdim"}};
constexpr Def kSoftmax = {"softmax", softmax_body, 2, -1,
                          "softmax(input, dim, dtype=None)\n--\n\nexp(x) / sum(exp(x)) along `dim`.\n\n" PD_EXAMPLE(
                              "pd.zeros(4).softmax(0).tolist()", "[0.25, 0.25, 0.25, 0.25]"),
                          {"input", "dim", "dtype"}};
constexpr Def kLogSoftmax = {"log_softmax", log_softmax_body, 2, -1,
                             "log_softmax(input, dim, dtype=None)\n--\n\nlog(softmax(x)) without underflow.\n\n" PD_EXAMPLE(
                                 "pd.zeros(1).log_softmax(0).item()", "0.0"),
                             {"input", "dim", "dtype"}};
// The k largest or smallest by their places; pydiff.topk takes the values.
PyObject* topk_indices_body(PyObject** a) {
  return wrap(topk_indices(tensor_arg("topk", a[0]), int_arg("topk", a[1], "k"), int_arg("topk", a[2], "dim"),
                           bool_arg(a[3], true)));
}
constexpr Def kTopkIndices = {"topk_indices", topk_indices_body, 4, -1, "topk_indices(input, k, dim, largest)\n--\n\nOf pydiff.topk.",
                              {"input", "k", "dim", "largest"}};

constexpr Def kCumsum = {"cumsum", cumsum_body, 2, -1,
                         "cumsum(input, dim, dtype=None)\n--\n\nRunning sum along `dim`.\n\n" PD_EXAMPLE(
                             "pd.tensor([1, 2, 3]).cumsum(0).tolist()", "[1, 3, 6]"),
                         {"input", "dim", "dtype"}};

}  // namespace

void add_reduction_methods(Methods& type, Methods& module) {
  both<kSum>(type, module);
  both<kProd>(type, module);
  both<kMean>(type, module);
  both<kVar>(type, module);
  both<kStd>(type, module);
  both<kAny>(type, module);
  both<kAllOf>(type, module);
  both<kAmax>(type, module);
  both<kAmin>(type, module);
  both<kArgmax>(type, module);
  both<kArgmin>(type, module);
  both<kMax>(type, module);
  both<kMin>(type, module);
  both<kLogsumexp>(type, module);
  both<kSoftmax>(type, module);
  both<kLogSoftmax>(type, module);
  both<kCumsum>(type, module);
  function<kTopkIndices>(module);
  module.push_back(entry("set_pairs", set_pairs, "The named tuples that max and min give."));
}

}  // namespace binding
}  // namespace pd
