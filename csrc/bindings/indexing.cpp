// x[key]: ints, slices, None and Ellipsis become views; arrays go to the index op.
#include "bindings/py.h"

namespace annx::python {

namespace {

bool is_array_key(PyObject* o) {
  return is_tensor(o) || PyList_Check(o) ||
         (PyObject_CheckBuffer(o) && !PyBytes_Check(o) && !PyIndex_Check(o)) ||
         (PyObject_HasAttrString(o, "__array__") && !PyIndex_Check(o));
}

bool is_int_key(PyObject* o) {
  if (PyBool_Check(o)) return false;
  if (PyLong_Check(o)) return true;
  if (is_tensor(o))
    return tensor_of(o).dim() == 0 && is_integral(tensor_of(o).dtype()) &&
           tensor_of(o).dtype() != DType::b8;
  return PyIndex_Check(o) && !PyObject_CheckBuffer(o);
}

int64_t int_key(PyObject* o) {
  py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(o));
  if (!index) throw py::error_already_set();
  int overflow = 0;
  const int64_t v = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  ANNX_CHECK(overflow == 0, index, "index", "expected an index of 64 bits but got ",
             py::str(index).cast<std::string>());
  if (v == -1 && PyErr_Occurred()) throw py::error_already_set();
  return v;
}

// How many dimensions of x a key consumes.
int consumed(PyObject* o) {
  if (o == Py_None || o == Py_Ellipsis || PyBool_Check(o)) return 0;
  if (is_tensor(o) && tensor_of(o).dtype() == DType::b8) return tensor_of(o).dim();
  return 1;
}

int64_t bound(PyObject* o, int64_t open) {
  if (o == Py_None) return open;
  return int_key(o);
}

Tensor take_slice(const Tensor& x, int dim, PyObject* key) {
  auto* s = reinterpret_cast<PySliceObject*>(key);
  const int64_t step = bound(s->step, 1);
  if (s->start == Py_None && s->stop == Py_None && step == 1) return x;
  const int64_t start = bound(s->start, step > 0 ? INT64_MIN : INT64_MAX);
  const int64_t stop = bound(s->stop, step > 0 ? INT64_MAX : INT64_MIN);
  return ops::slice(x, dim, start, stop, step);
}

Tensor apply_keys(const Tensor& self, const std::vector<py::object>& keys) {
  int used = 0;
  int ellipses = 0;
  for (const py::object& k : keys) {
    used += consumed(k.ptr());
    ellipses += k.ptr() == Py_Ellipsis;
  }
  ANNX_CHECK(ellipses <= 1, index, "index", "expected at most one Ellipsis but got ", ellipses);
  ANNX_CHECK(used <= self.dim(), index, "index", "expected at most ", self.dim(),
             " indices for shape ", self.shape(), " but got ", used);
  Tensor x = self;
  int dim = 0;
  TensorList arrays;
  Dims array_dims;
  for (const py::object& key : keys) {
    PyObject* k = key.ptr();
    if (k == Py_None) {
      x = ops::unsqueeze(x, dim++);
    } else if (k == Py_Ellipsis) {
      dim += self.dim() - used;
    } else if (PySlice_Check(k)) {
      x = take_slice(x, dim++, k);
    } else if (is_int_key(k)) {
      const int64_t i = int_key(k), n = x.size(dim);
      ANNX_CHECK(i >= -n && i < n, index, "index", "expected an index in [", -n, ", ", n - 1,
                 "] along dim ", dim, " of shape ", self.shape(), " but got ", i);
      x = call(def::select, {x}, {Attr(dim), Attr(i)});
    } else if (is_array_key(k)) {
      Tensor t = to_tensor(k, "index", "key");
      if (t.dtype() == DType::b8) {
        Dims expected;
        for (int i = 0; i < t.dim(); ++i) expected.push_back(x.size(dim + i));
        ANNX_CHECK(t.dim() > 0 && t.shape() == expected, index, "index",
                   "expected a mask of shape ", expected, " but got ", t.shape());
        const Tensor positions = call(def::nonzero, {t});
        for (int i = 0; i < t.dim(); ++i) {
          arrays.push_back(call(def::select, {positions}, {Attr(1), Attr(i)}));
          array_dims.push_back(dim++);
        }
      } else {
        if (t.numel() == 0 && is_floating(t.dtype())) t = ops::cast(t, DType::i64);  // x[[]]
        ANNX_CHECK(is_integral(t.dtype()), index, "index",
                   "expected integer or bool arrays as indices but got dtype ", t.dtype());
        arrays.push_back(t);
        array_dims.push_back(dim++);
      }
    } else {
      fail(ErrorKind::index, "index",
           "expected ints, slices, None, Ellipsis, integer or bool arrays but got ",
           Py_TYPE(k)->tp_name);
    }
  }
  if (arrays.empty()) return x;
  TensorList inputs{x};
  for (Tensor& t : arrays) inputs.push_back(std::move(t));
  return call(def::index, std::move(inputs), {Attr(array_dims)});
}

}  // namespace

PyObject* subscript(PyObject* self, PyObject* key) {
  return guarded([&]() -> PyObject* {
    const Tensor& x = tensor_of(self);
    std::vector<py::object> keys;
    if (PyTuple_Check(key)) {
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); ++i) {
        PyObject* k = PyTuple_GET_ITEM(key, i);
        keys.push_back(py::reinterpret_borrow<py::object>(k));
      }
    } else {
      keys.push_back(py::reinterpret_borrow<py::object>(key));
    }
    // Lists and arrays become tensors here, so that masks are known before dimensions are counted.
    for (py::object& k : keys)
      if (!is_tensor(k.ptr()) && !is_int_key(k.ptr()) && is_array_key(k.ptr()))
        k = py::reinterpret_steal<py::object>(wrap(to_tensor(k.ptr(), "index", "key")));
    return wrap(apply_keys(x, keys));
  });
}

}  // namespace annx::python
