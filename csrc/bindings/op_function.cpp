// Every registered op as a Python callable: arguments are read by the op's own signature.
#include <cstring>

#include "bindings/py.h"

namespace annx::python {

namespace {

constexpr int kMaxParams = 16;

struct BoundParam {
  Param param;
  PyObject* name;  // interned
};

struct OpFunction {
  PyObject_HEAD vectorcallfunc vectorcall;
  const OpDef* op;
  Signature* signature;
  std::vector<BoundParam>* params;
};

PyTypeObject* op_function_type = nullptr;

[[noreturn]] void bad_argument(const OpDef& op, const Param& p, const char* expected, PyObject* o) {
  // A wrong name says more than that it is a str.
  const std::string got =
      PyUnicode_Check(o) ? py::repr(o).cast<std::string>() : std::string(Py_TYPE(o)->tp_name);
  fail(ErrorKind::type, op.name, "argument '", p.name, "': expected ", expected, " but got ", got);
}

bool as_int(PyObject* o, int64_t* out) {
  if (PyLong_CheckExact(o)) {
    *out = PyLong_AsLongLong(o);
  } else if (is_tensor(o)) {
    if (!is_integral(tensor_of(o).dtype()) || tensor_of(o).numel() != 1) return false;
    check_readable(tensor_of(o), "int");
    *out = load_scalar_i64(on_cpu(tensor_of(o)).raw(), tensor_of(o).dtype());
    return true;
  } else if (PyIndex_Check(o)) {
    py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(o));
    if (!index) throw py::error_already_set();
    *out = PyLong_AsLongLong(index.ptr());
  } else {
    return false;
  }
  if (*out == -1 && PyErr_Occurred()) throw py::error_already_set();
  return true;
}

void read_ints(const OpDef& op, const Param& p, PyObject* o, Ints* out) {
  int64_t v;
  PyObject* fast = PySequence_Fast(o, "");
  if (!fast) {
    PyErr_Clear();
    bad_argument(op, p, "an int or a sequence of ints", o);
  }
  py::object holder = py::reinterpret_steal<py::object>(fast);
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* e = PySequence_Fast_GET_ITEM(fast, i);
    if (!as_int(e, &v)) bad_argument(op, p, "ints", e);
    out->push_back(v);
  }
}

Attr read_attr(const OpDef& op, const Param& p, PyObject* o) {
  if (o == Py_None && p.optional) return Attr();
  switch (p.type) {
    case Param::Type::integer: {
      int64_t v;
      if (!as_int(o, &v)) bad_argument(op, p, "an int", o);
      return Attr(v);
    }
    case Param::Type::integers: {
      Ints ints;
      int64_t v;
      if (!PyUnicode_Check(o) && as_int(o, &v))
        ints.push_back(v);
      else
        read_ints(op, p, o, &ints);
      return Attr(ints);
    }
    case Param::Type::real: {
      if (PyFloat_Check(o)) return Attr(PyFloat_AS_DOUBLE(o));
      if (is_tensor(o) && tensor_of(o).numel() == 1) {
        check_readable(tensor_of(o), "float");
        return Attr(load_scalar_f64(on_cpu(tensor_of(o)).raw(), tensor_of(o).dtype()));
      }
      const double v = PyUnicode_Check(o) ? -1.0 : PyFloat_AsDouble(o);
      if (PyUnicode_Check(o) || (v == -1.0 && PyErr_Occurred())) {
        PyErr_Clear();
        bad_argument(op, p, "a number", o);
      }
      return Attr(v);
    }
    case Param::Type::boolean: {
      if (PyBool_Check(o)) return Attr(o == Py_True);
      const bool number = PyLong_Check(o) || (!PyUnicode_Check(o) && PyIndex_Check(o));
      if (!number) bad_argument(op, p, "a bool", o);
      return Attr(PyObject_IsTrue(o) == 1);
    }
    case Param::Type::text: {
      const char* s = PyUnicode_Check(o) ? PyUnicode_AsUTF8(o) : nullptr;
      if (!s) {
        PyErr_Clear();
        bad_argument(op, p, "a str", o);
      }
      return Attr(intern(s));
    }
    case Param::Type::dtype: {
      DType t;
      if (!parse_dtype(o, &t)) bad_argument(op, p, "a dtype", o);
      return Attr(t);
    }
    default:
      break;
  }
  return Attr();
}

void read_tensors(const OpDef& op, const Param& p, PyObject* o, OpCall& c) {
  if (PyUnicode_Check(o)) bad_argument(op, p, "a sequence of Tensors", o);
  py::object holder = py::reinterpret_steal<py::object>(PySequence_Fast(o, ""));
  if (!holder) {
    PyErr_Clear();
    bad_argument(op, p, "a sequence of Tensors", o);
  }
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(holder.ptr());
  for (Py_ssize_t i = 0; i < n; ++i)
    c.inputs.push_back(to_tensor(PySequence_Fast_GET_ITEM(holder.ptr(), i), op.name, p.name));
}

// Puts positional and keyword arguments in the order of the parameters.
void place(const OpFunction& f, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
           PyObject** slots, py::object* collected) {
  const auto& params = *f.params;
  const auto count = static_cast<Py_ssize_t>(params.size());
  Py_ssize_t positional = 0;
  while (positional < count && !params[static_cast<size_t>(positional)].param.keyword_only)
    ++positional;
  for (Py_ssize_t i = 0; i < nargs; ++i) {
    if (i < positional && params[static_cast<size_t>(i)].param.variadic &&
        (nargs > i + 1 || PyLong_Check(args[i]))) {
      // x.reshape(2, 3): the remaining positionals are one list.
      *collected = py::reinterpret_steal<py::object>(PyTuple_New(nargs - i));
      for (Py_ssize_t k = i; k < nargs; ++k) {
        Py_INCREF(args[k]);
        PyTuple_SET_ITEM(collected->ptr(), k - i, args[k]);
      }
      slots[i] = collected->ptr();
      break;
    }
    ANNX_CHECK(i < positional, type, f.op->name, "expected at most ", positional,
               " positional arguments but got ", nargs, "; signature: ", f.op->signature);
    slots[i] = args[i];
  }
  const Py_ssize_t nkw = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t k = 0; k < nkw; ++k) {
    PyObject* key = PyTuple_GET_ITEM(kwnames, k);
    Py_ssize_t i = 0;
    while (i < count && params[static_cast<size_t>(i)].name != key) ++i;
    if (i == count)
      for (i = 0; i < count; ++i)
        if (PyUnicode_Compare(params[static_cast<size_t>(i)].name, key) == 0) break;
    ANNX_CHECK(i < count, type, f.op->name, "unexpected keyword argument '", PyUnicode_AsUTF8(key),
               "'; signature: ", f.op->signature);
    ANNX_CHECK(!slots[i], type, f.op->name, "argument '", PyUnicode_AsUTF8(key),
               "' given twice; signature: ", f.op->signature);
    slots[i] = args[nargs + k];
  }
}

PyObject* call_op(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  return guarded([&]() -> PyObject* {
    const auto& f = *reinterpret_cast<OpFunction*>(self);
    const OpDef& op = *f.op;
    PyObject* slots[kMaxParams] = {};
    py::object collected;
    place(f, args, PyVectorcall_NARGS(nargsf), kwnames, slots, &collected);

    OpCall c;
    c.op = &op;
    // Numbers take the dtype of the first tensor: found before they are converted.
    DType partner = DType::b8;
    for (size_t i = 0; i < f.params->size(); ++i) {
      if (slots[i] && is_tensor(slots[i])) {
        partner = tensor_of(slots[i]).dtype();
        if (!(op.flags & kPromoteTail) || i > 0) break;
      }
    }
    SmallVec<int64_t, 2> list_lengths;
    for (size_t i = 0; i < f.params->size(); ++i) {
      const Param& p = (*f.params)[i].param;
      PyObject* o = slots[i];
      if (!o) {
        ANNX_CHECK(p.has_default, type, op.name, "missing argument '", p.name,
                   "'; signature: ", op.signature);
        if (p.type == Param::Type::tensor)
          c.inputs.emplace_back();
        else
          c.attrs.push_back(p.default_value);
      } else if (p.type == Param::Type::tensor) {
        if (is_tensor(o))
          c.inputs.push_back(tensor_of(o));
        else if (o == Py_None && p.optional)
          c.inputs.emplace_back();
        else if (is_number(o))
          c.inputs.push_back(number_tensor_like(o, partner));
        else
          c.inputs.push_back(to_tensor(o, op.name, p.name));
      } else if (p.type == Param::Type::tensors) {
        const int before = c.inputs.size();
        read_tensors(op, p, o, c);
        list_lengths.push_back(c.inputs.size() - before);
      } else {
        c.attrs.push_back(read_attr(op, p, o));
      }
    }
    for (int64_t n : list_lengths) c.attrs.push_back(Attr(n));
    run_call(c);
    switch (f.signature->outputs) {
      case 0:
        Py_RETURN_NONE;
      case 1:
        return wrap(c.outputs[0]);
      case -2:
        return c.outputs.size() == 1 ? wrap(c.outputs[0]) : wrap_tuple(c.outputs);
      default:
        return wrap_tuple(c.outputs);
    }
  });
}

PyObject* op_repr(PyObject* self) {
  return PyUnicode_FromFormat("<annx op %s>", reinterpret_cast<OpFunction*>(self)->op->signature);
}
PyObject* op_name(PyObject* self, void*) {
  return PyUnicode_FromString(reinterpret_cast<OpFunction*>(self)->op->name);
}
PyObject* op_doc(PyObject* self, void*) {
  const OpDef& op = *reinterpret_cast<OpFunction*>(self)->op;
  return PyUnicode_FromFormat("%s\n\n%s", op.signature, op.doc);
}
PyObject* op_signature(PyObject* self, void*) {
  return PyUnicode_FromString(reinterpret_cast<OpFunction*>(self)->op->signature);
}
PyObject* op_reduce(PyObject* self, PyObject*) {
  return guarded([&] {
    return py::make_tuple(py::module_::import("annx._core").attr("find_op"),
                          py::make_tuple(reinterpret_cast<OpFunction*>(self)->op->name))
        .release()
        .ptr();
  });
}
// A method of Tensor when found on one.
PyObject* op_get(PyObject* self, PyObject* instance, PyObject*) {
  if (!instance || instance == Py_None) {
    Py_INCREF(self);
    return self;
  }
  return PyMethod_New(self, instance);
}

void make_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(OpFunction, vectorcall), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", op_reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {{"__name__", op_name, nullptr, nullptr, nullptr},
                                 {"__doc__", op_doc, nullptr, nullptr, nullptr},
                                 {"signature", op_signature, nullptr, nullptr, nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(op_get)},
                                {Py_tp_repr, reinterpret_cast<void*>(op_repr)},
                                {Py_tp_members, members},
                                {Py_tp_methods, methods},
                                {Py_tp_getset, getset},
                                {0, nullptr}};
  static PyType_Spec spec = {"annx._core.Op", sizeof(OpFunction), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL |
                                 Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             slots};
  op_function_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!op_function_type) throw py::error_already_set();
}

py::dict describe(const OpDef& op) {
  const Signature s = parse_signature(op);
  py::list params;
  for (const Param& p : s.params) params.append(p.name);
  py::dict d;
  d["name"] = op.name;
  d["signature"] = op.signature;
  d["doc"] = op.doc;
  d["params"] = params;
  d["outputs"] = s.outputs;
  d["method"] = !(op.flags & (kNoMethod | kInternal));
  d["internal"] = (op.flags & kInternal) != 0;
  d["differentiable"] = op.backward != nullptr || op.composite != nullptr;
  d["composite"] = op.composite != nullptr;
  d["view"] = (op.flags & kView) != 0;
  d["elementwise"] = (op.flags & kElementwise) != 0;
  d["mutates"] = (op.flags & kMutates) != 0;
  d["capture"] = !(op.flags & kNoCapture);
  d["has_cost"] = op.cost != nullptr;
  return d;
}

}  // namespace

PyObject* make_op_function(const OpDef* op) {
  PyObject* o = op_function_type->tp_alloc(op_function_type, 0);
  if (!o) throw py::error_already_set();
  auto* f = reinterpret_cast<OpFunction*>(o);
  f->vectorcall = call_op;
  f->op = op;
  f->signature = new Signature(parse_signature(*op));
  f->params = new std::vector<BoundParam>;
  ANNX_CHECK(f->signature->params.size() <= kMaxParams, value, op->name, "too many parameters");
  for (const Param& p : f->signature->params)
    f->params->push_back({p, PyUnicode_InternFromString(p.name)});
  return o;
}

void init_op_functions(py::module_& m) {
  make_type();
  m.add_object("Op",
               py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(op_function_type)));
  py::module_ ops = m.def_submodule("ops", "Every registered op.");
  // On 3.12 and later submodules of extension modules are importable only when listed.
  py::module_::import("sys").attr("modules")["annx._core.ops"] = ops;
  py::handle type(reinterpret_cast<PyObject*>(tensor_type));
  for (const OpDef* op : registry()) {
    py::object f = py::reinterpret_steal<py::object>(make_op_function(op));
    ops.attr(op->name) = f;
    if (!(op->flags & (kNoMethod | kInternal)) && !py::hasattr(type, op->name))
      type.attr(op->name) = f;
  }
  for (const char* name : {"sgd_step_", "adam_step_", "global_norm"}) m.attr(name) = ops.attr(name);
  m.def("find_op", [ops](const std::string& name) -> py::object { return ops.attr(name.c_str()); });
  m.def(
      "count_cost",
      [](const py::function& fn) {
        const CostScope scope;
        fn();
        return py::make_tuple(scope.total().flops, scope.total().bytes);
      },
      "(flops, bytes) of every op that fn() runs in this thread, backward included.");
  m.def(
      "op_cost",
      [ops](const std::string& name, const py::args& args, const py::kwargs& kwargs) {
        ANNX_CHECK(find_op(name.c_str()), value, "op_cost", "expected the name of an op but got '",
                   name, "'");
        const py::object op = ops.attr(name.c_str());
        const CostScope scope;
        op(*args, **kwargs);
        return py::make_tuple(scope.total().flops, scope.total().bytes);
      },
      "(flops, bytes) of one call: op_cost('add', x, y). The call is made.");
  m.def(
      "op_table",
      [] {
        py::list out;
        for (const OpDef* op : registry()) out.append(describe(*op));
        return out;
      },
      "What the registry says of every op: a list of dicts.");
}

}  // namespace annx::python
