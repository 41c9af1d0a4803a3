// Recording a captured call for Python: one native call around the function, which also takes down
// what a replay must find as it was.
#include "bindings/capture.h"

#include "program/record.h"

namespace annx::python {

namespace {

using program::Recorder;

// A capture at work on this thread, with what is noted for Python meanwhile.
struct Capture {
  Capture(const TensorList& arguments, bool lenient)
      : recorder(arguments, lenient), lenient(lenient) {}
  Recorder recorder;
  bool lenient;
  py::list scopes;      // of each call of a module: the call around it, or -1, and the module
  py::list repeats;     // of each call of the host: the optimizer that it prepares, or None
  py::list optimizers;  // each once
  py::list modules;     // those whose parts were listed, by parameters() for one
};

thread_local std::unique_ptr<Capture> t_capture;

// Counts changes of modules that captured calls have to notice. Guarded by the GIL.
uint64_t g_structure_epoch = 0;

py::object checked(PyObject* o) {
  if (!o) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(o);
}

// What lies in instances' dictionaries is read there.
py::object attributes_of(PyObject* module) {
  return checked(PyObject_GenericGetDict(module, nullptr));
}

PyObject* entry_of(const py::object& dict, PyObject* key) {
  PyObject* const o = PyDict_GetItemWithError(dict.ptr(), key);
  if (!o && !PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, key);
  if (!o) throw py::error_already_set();
  return o;
}

// One of a module's registries; the module says what is missing where it has none.
py::object registry_of(PyObject* module, const py::object& state, PyObject* key) {
  PyObject* const o = PyDict_GetItemWithError(state.ptr(), key);
  if (o) return py::reinterpret_borrow<py::object>(o);
  if (PyErr_Occurred()) throw py::error_already_set();
  return checked(PyObject_GetAttr(module, key));
}

struct Deeper {
  Deeper() {
    if (Py_EnterRecursiveCall(" while looking into a tree")) throw py::error_already_set();
  }
  ~Deeper() { Py_LeaveRecursiveCall(); }
  Deeper(const Deeper&) = delete;
};

// A module and all below it that have not been met, parents first.
void list_modules(PyObject* module, py::list& found, program::IdMap& met) {
  static PyObject* const registry = PyUnicode_InternFromString("_module_names");
  if (met.insert(reinterpret_cast<uintptr_t>(module), 0)) return;
  found.append(py::handle(module));
  const Deeper here;
  const py::object state = attributes_of(module);
  PyObject *name, *mark;
  Py_ssize_t place = 0;
  const py::object names = registry_of(module, state, registry);
  while (PyDict_Next(names.ptr(), &place, &name, &mark)) {
    PyObject* const part = entry_of(state, name);
    if (part != Py_None) list_modules(part, found, met);
  }
}

// The roots, the modules of a record's scopes, and all below them, each once, parents first.
py::list modules_within(const py::sequence& roots, const py::list& scopes) {
  py::list found;
  program::IdMap met(6);
  for (const py::handle root : roots) list_modules(root.ptr(), found, met);
  for (const py::handle scope : scopes) list_modules(PyTuple_GET_ITEM(scope.ptr(), 1), found, met);
  return found;
}

// A number that tells values apart: the hash, as strings and bools have it, or else the identity.
int64_t told_by(PyObject* value) {
  if (value == Py_True || value == Py_False) return value == Py_True;
  const Py_hash_t hash = PyObject_Hash(value);
  if (hash != -1) return hash;
  PyErr_Clear();
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(value));
}

// The modes of modules; and of each its count of edits, and the names of its parameters and buffers,
// each with the id of its memory, or -1.
py::tuple module_states(const py::list& modules) {
  static PyObject* const training = PyUnicode_InternFromString("training");
  static PyObject* const edits = PyUnicode_InternFromString("_edits");
  static PyObject* const registries[] = {PyUnicode_InternFromString("_parameter_names"),
                                         PyUnicode_InternFromString("_buffer_names")};
  SmallVec<int64_t, 16> modes;
  SmallVec<int64_t, 64> states;
  for (const py::handle module : modules) {
    const py::object state = attributes_of(module.ptr());
    modes.push_back(told_by(checked(PyObject_GetAttr(module.ptr(), training)).ptr()));
    PyObject* const edited = PyDict_GetItemWithError(state.ptr(), edits);
    states.push_back(edited ? told_by(edited) : 0);
    for (PyObject* const registry : registries) {
      const py::object names = registry_of(module.ptr(), state, registry);
      // Names of parameters and of buffers must not be mistaken for each other.
      states.push_back(PyDict_Size(names.ptr()));
      PyObject *name, *mark;
      Py_ssize_t place = 0;
      while (PyDict_Next(names.ptr(), &place, &name, &mark)) {
        PyObject* const t = entry_of(state, name);
        states.push_back(told_by(name));
        states.push_back(t == Py_None ? -1 : static_cast<int64_t>(tensor_of(t).storage()->id()));
      }
    }
  }
  const auto packed = [](const auto& numbers) {
    return py::bytes(reinterpret_cast<const char*>(numbers.data()),
                     static_cast<size_t>(numbers.size()) * sizeof(int64_t));
  };
  return py::make_tuple(packed(modes), packed(states));
}

// (module, call, args, kwargs): call(*args, **kwargs), with what runs in it marked as the module's by
// the place of a new entry in the list of scopes.
PyObject* recorded_call(PyObject*, PyObject* const* given, Py_ssize_t) {
  PyObject *const module = given[0], *const call = given[1];
  if (!t_capture) return PyObject_Call(call, given[2], given[3]);
  PyObject* const scopes = t_capture->scopes.ptr();
  Recorder& recorder = t_capture->recorder;
  const int outer = recorder.set_scope(static_cast<int>(PyList_GET_SIZE(scopes)));
  PyObject* const around = PyLong_FromLong(outer);
  PyObject* const entry = around ? PyTuple_Pack(2, around, module) : nullptr;
  Py_XDECREF(around);
  const bool noted = entry && PyList_Append(scopes, entry) == 0;
  Py_XDECREF(entry);
  PyObject* const result = noted ? PyObject_Call(call, given[2], given[3]) : nullptr;
  recorder.set_scope(outer);
  return result;
}

std::function<void()> host_function(const py::object& fn) {
  // Programs may be dropped by a thread without the GIL.
  std::shared_ptr<py::object> held(new py::object(fn), [](py::object* o) {
    if (Py_IsInitialized()) {
      py::gil_scoped_acquire gil;
      delete o;
    } else {
      o->release();
      delete o;
    }
  });
  return [held] {
    py::gil_scoped_acquire gil;
    (*held)();
  };
}

// While a call is captured: has every replay call fn at this place.
void capture_repeat(const py::object& fn, const py::object& optimizer) {
  if (!t_capture) return;
  t_capture->recorder.add_host_call(host_function(fn));
  t_capture->repeats.append(optimizer);
  if (optimizer.is_none()) return;
  for (const py::handle other : t_capture->optimizers)
    if (other.is(optimizer)) return;
  t_capture->optimizers.append(optimizer);
}

void check_nothing_kept(const TensorList& results, const py::object& opaque) {
  Recorder& recorder = t_capture->recorder;
  if (!recorder.kept_beyond(results)) return;
  py::module_::import("gc").attr("collect")();
  const int kept = recorder.kept_beyond(results);
  if (!kept) return;
  std::string hint = "Return them instead";
  if (!opaque.is_none())
    hint +=
        " (only dicts, lists and tuples are looked into, not a " + opaque.cast<std::string>() + ")";
  recorder.refuse(
      "expected no tensor of a captured call to be kept outside of it but " + std::to_string(kept) +
      " are, by an attribute or a list for instance: a replay would not renew them. " + hint);
}

// Whether its attributes tell when they change.
bool is_module(PyObject* value) {
  static PyObject* const mark = PyUnicode_InternFromString("_edited");
  return !PyType_Check(value) && _PyType_Lookup(Py_TYPE(value), mark);
}

// Modules that a function names, of its closure or its globals: it may read their weights.
void list_named(PyObject* function, py::list& found) {
  static PyObject* const key = PyUnicode_InternFromString("co_names");
  if (PyMethod_Check(function)) function = PyMethod_GET_FUNCTION(function);
  if (!PyFunction_Check(function)) return;
  const auto take = [&](PyObject* value) {
    if (value && is_module(value)) found.append(py::handle(value));
  };
  if (PyObject* const cells = PyFunction_GET_CLOSURE(function))
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(cells); ++i)
      take(PyCell_GET(PyTuple_GET_ITEM(cells, i)));
  const py::object names = checked(PyObject_GetAttr(PyFunction_GET_CODE(function), key));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names.ptr()); ++i) {
    PyObject* const value =
        PyDict_GetItemWithError(PyFunction_GET_GLOBALS(function), PyTuple_GET_ITEM(names.ptr(), i));
    if (!value && PyErr_Occurred()) throw py::error_already_set();
    take(value);
  }
}

// Calls the function once, eagerly, and records it: ((program, whether it changes state, the tree and
// the leaves of the result, scopes, repeats, optimizers with the versions of their plans, modules, their
// modes and states, and when those were looked at), tensors of the result). In place of a program stands
// the reason why there is none, of a lenient capture. `take_apart` gives of a result that is no tensor
// its tensors, tree and leaves, and the type of what it did not look into.
py::tuple record_call(const py::object& function, const py::tuple& args, const py::dict& kwargs,
                      const py::sequence& tensors, const py::sequence& owners, bool lenient,
                      bool prepared, const py::object& take_apart) {
  ANNX_CHECK(!t_capture, runtime, "jit", "expected no capture within a capture");
  t_capture = std::make_unique<Capture>(tensors_of(tensors), lenient);
  struct End {
    ~End() { t_capture.reset(); }
  } end;
  list_named(function.ptr(), t_capture->modules);
  py::object result = checked(PyObject_Call(function.ptr(), args.ptr(), kwargs.ptr()));
  py::object tree = py::none(), leaves = py::none(), opaque = py::none();
  TensorList out;
  std::vector<char> tracked;
  const auto take = [&](const Tensor& t) {
    note_look(t);
    out.push_back(t.detach());
    tracked.push_back(t.requires_grad());
  };
  if (is_tensor(result.ptr())) {
    take(tensor_of(result.ptr()));
  } else {
    const py::tuple parts = take_apart(result);
    for (const Tensor& t : tensors_of(parts[0])) take(t);
    tree = parts[1];
    leaves = parts[2];
    opaque = parts[3];
  }
  track(out, tracked);
  // The graph goes with it; what is alive then was kept by somebody.
  result = py::object();
  check_nothing_kept(out, opaque);
  Capture& capture = *t_capture;
  py::object program;
  bool changes_state = false;
  if (capture.recorder.refusal().empty()) {
    std::shared_ptr<program::Program> p = capture.recorder.finish(out);
    p->prepared = prepared;
    const auto runner = std::make_shared<program::Runner>(std::move(p));
    changes_state = runner->changes_state();
    program = py::cast(runner);
  } else {
    program = py::str(capture.recorder.refusal());
  }
  py::list versions;
  for (const py::handle optimizer : capture.optimizers)
    versions.append(py::make_tuple(optimizer, optimizer.attr("_plan_version")));
  // Those that were called, gone through, or are the owners, and all of their modules: a weight may have
  // been read without a call of the module that holds it.
  for (const py::handle owner : owners) capture.modules.append(owner);
  const py::list modules = modules_within(capture.modules, capture.scopes);
  const py::tuple states = module_states(modules);
  return py::make_tuple(
      py::make_tuple(program, changes_state, tree, leaves, capture.scopes, capture.repeats,
                     versions, modules, states[0], states[1], g_structure_epoch),
      py::reinterpret_steal<py::tuple>(wrap_tuple(out)));
}

// The arguments of record_call, which pybind11 would take longer to look at.
PyObject* record_call_of(PyObject*, PyObject* const* a, Py_ssize_t count) {
  return guarded([&]() -> PyObject* {
    ANNX_CHECK(count == 8 && PyTuple_Check(a[1]) && PyDict_Check(a[2]), type, "jit",
               "expected a function, a tuple and a dict of its arguments, and five more");
    const auto at = [&](int i) { return py::reinterpret_borrow<py::object>(a[i]); };
    return record_call(at(0), at(1), at(2), at(3), at(4), a[5] == Py_True, a[6] == Py_True, at(7))
        .release()
        .ptr();
  });
}

PyObject* capturing(PyObject*, PyObject* const*, Py_ssize_t) {
  return PyBool_FromLong(t_capture != nullptr);
}

PyObject* structure_epoch(PyObject*, PyObject* const*, Py_ssize_t) {
  return PyLong_FromUnsignedLongLong(g_structure_epoch);
}

PyObject* bump(PyObject*, PyObject* const*, Py_ssize_t) {
  bump_structure();
  Py_RETURN_NONE;
}

Recorder& recorder() {
  ANNX_CHECK(t_capture, runtime, "jit", "expected a capture at work on this thread");
  return t_capture->recorder;
}

}  // namespace

TensorList tensors_of(const py::handle& sequence) {
  TensorList out;
  py::object fast = py::reinterpret_steal<py::object>(PySequence_Fast(sequence.ptr(), "tensors"));
  if (!fast) throw py::error_already_set();
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast.ptr());
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* o = PySequence_Fast_GET_ITEM(fast.ptr(), i);
    ANNX_CHECK(is_tensor(o), type, "jit", "expected Tensors but got ", Py_TYPE(o)->tp_name);
    out.push_back(tensor_of(o));
  }
  return out;
}

void add_quick(py::module_& m, const char* name, QuickFunction function, const char* doc) {
  // Lives as long as the module does.
  auto* const def =
      new PyMethodDef{name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)),
                      METH_FASTCALL, doc};
  m.add_object(name, checked(PyCFunction_New(def, nullptr)));
}

void track(TensorList& results, const std::vector<char>& tracked) {
  bool any = false;
  for (char t : tracked) any = any || t;
  if (!any) return;
  Tensor leaf = Tensor::scalar(0.0f, DType::f32);
  autograd::set_requires_grad(leaf, true);
  const GradModeGuard recording(true);
  for (int i = 0; i < results.size(); ++i) {
    if (!tracked[static_cast<size_t>(i)]) continue;
    results[i] =
        autograd::custom_function("jit", {leaf}, {results[i]}, [](const TensorList&) -> TensorList {
          fail(
              ErrorKind::runtime, "jit",
              "expected backward inside the captured function but it was called on its result: the "
              "graph is not kept. Move loss.backward() into the function, or use annx.grad in it");
        })[0];
  }
}

void check_readable(const Tensor& t, const char* what) {
  if (Recorder* active = Recorder::active()) active->check_readable(t, what);
}

void note_change(const Tensor& t) {
  program::note_leaf_change();
  if (Recorder* active = Recorder::active()) active->note_change(t);
}

void note_look(const Tensor& t) {
  if (Recorder* active = Recorder::active()) active->note_change(t);
}

void bump_structure() { ++g_structure_epoch; }

void init_capture(py::module_& m) {
  m.def("modules_within", modules_within, "Modules and all below them, each once.");
  m.def("module_states", module_states, "Modes, edits, parameters and buffers of modules.");
  m.def("capture_note_module", [](const py::object& module) {
    if (t_capture) t_capture->modules.append(module);
  });
  m.def("capture_repeat", capture_repeat, "Has replays call a function at this place.");
  add_quick(m, "record_call", record_call_of, "Calls a function and records what it does.");
  add_quick(m, "structure_epoch", structure_epoch, "Counts changes of modules.");
  add_quick(m, "bump_structure", bump, "Tells captured calls that a module was changed.");
  add_quick(m, "capturing", capturing, "Whether this thread records a call.");
  add_quick(m, "recorded_call", recorded_call, "Calls a module, marking what runs in it.");
  m.def("capture_refuse", [](const std::string& why, bool if_lenient) {
    if (t_capture && (t_capture->lenient || !if_lenient)) t_capture->recorder.refuse(why);
  });
  m.def("capture_region", [](int region) { return recorder().set_region(region); });
}

}  // namespace annx::python
