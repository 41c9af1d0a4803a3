#include "ops/registry.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "ops/defs.h"

namespace annx {

const Ints& Attr::no_ints() {
  static const Ints none{};
  return none;
}

const char* intern(const char* text) {
  static std::mutex mutex;
  static std::unordered_set<std::string>* table = new std::unordered_set<std::string>;
  std::lock_guard<std::mutex> lock(mutex);
  return table->insert(text).first->c_str();
}

const std::vector<const OpDef*>& registry() {
  static const std::vector<const OpDef*>* table = new std::vector<const OpDef*>{
#define ANNX_OP(name) &def::name,
#include "ops/ops.def"
#undef ANNX_OP
  };
  return *table;
}

const OpDef* find_op(const char* name) {
  static const auto* by_name = [] {
    auto* map = new std::unordered_map<std::string, const OpDef*>;
    for (const OpDef* op : registry()) map->emplace(op->name, op);
    return map;
  }();
  const auto it = by_name->find(name);
  return it == by_name->end() ? nullptr : it->second;
}

namespace {

double total_bytes(const TensorList& tensors) {
  double bytes = 0;
  for (const Tensor& t : tensors)
    if (t.defined()) bytes += static_cast<double>(t.nbytes());
  return bytes;
}

}  // namespace

Cost op_cost(const OpCall& c) {
  if (c.op->cost) return c.op->cost(c);
  if (c.op->flags & kView) return {};
  double elements = 0;
  for (const Tensor& t : c.outputs)
    if (t.defined()) elements += static_cast<double>(t.numel());
  return {elements, total_bytes(c.inputs) + total_bytes(c.outputs)};
}

Cost move_cost(const OpCall& c) {
  double bytes = 2 * total_bytes(c.outputs);
  for (int i = 1; i < c.inputs.size(); ++i)
    if (c.has(i) && is_integral(c.in(i).dtype())) bytes += static_cast<double>(c.in(i).nbytes());
  return {0, bytes};
}

namespace {

std::string strip(const std::string& s) {
  const size_t a = s.find_first_not_of(' ');
  if (a == std::string::npos) return "";
  return s.substr(a, s.find_last_not_of(' ') - a + 1);
}

Attr parse_default(const OpDef& op, Param::Type type, const std::string& text) {
  if (text == "None") return Attr();
  if (text == "True") return Attr(true);
  if (text == "False") return Attr(false);
  if (text.front() == '\'') return Attr(intern(text.substr(1, text.size() - 2).c_str()));
  if (text == "()") return Attr(Ints{});
  char* end = nullptr;
  const double v = std::strtod(text.c_str(), &end);
  ANNX_CHECK(end && *end == 0, value, op.name, "malformed default '", text, "' in ", op.signature);
  if (type == Param::Type::real) return Attr(v);
  if (type == Param::Type::integers) return Attr(Ints{static_cast<int64_t>(v)});
  return Attr(static_cast<int64_t>(v));
}

Param parse_param(const OpDef& op, const std::string& text) {
  Param p{};
  const size_t space = text.find(' ');
  ANNX_CHECK(space != std::string::npos, value, op.name, "malformed parameter '", text, "'");
  std::string type = text.substr(0, space);
  std::string rest = strip(text.substr(space));
  if (type.back() == '?') {
    p.optional = true;
    type.pop_back();
  }
  if (type == "Tensor") {
    p.type = Param::Type::tensor;
  } else if (type == "Tensor[]") {
    p.type = Param::Type::tensors;
  } else if (type == "int") {
    p.type = Param::Type::integer;
  } else if (type == "int[]") {
    p.type = Param::Type::integers;
  } else if (type == "int...") {
    p.type = Param::Type::integers;
    p.variadic = true;
  } else if (type == "float") {
    p.type = Param::Type::real;
  } else if (type == "bool") {
    p.type = Param::Type::boolean;
  } else if (type == "str") {
    p.type = Param::Type::text;
  } else if (type == "dtype") {
    p.type = Param::Type::dtype;
  } else {
    fail(ErrorKind::value, op.name, "unknown type '", type, "' in ", op.signature);
  }
  const size_t equals = rest.find('=');
  if (equals != std::string::npos) {
    p.has_default = true;
    p.default_value = parse_default(op, p.type, strip(rest.substr(equals + 1)));
    rest = strip(rest.substr(0, equals));
  }
  p.name = intern(rest.c_str());
  return p;
}

}  // namespace

Signature parse_signature(const OpDef& op) {
  Signature out;
  const std::string text = op.signature;
  const size_t open = text.find('('), close = text.rfind(") -> ");
  ANNX_CHECK(
      open != std::string::npos && close != std::string::npos && text.substr(0, open) == op.name,
      value, op.name, "malformed signature ", text);
  std::string list = text.substr(open + 1, close - open - 1);
  bool keyword_only = false;
  for (size_t start = 0; start < list.size();) {
    size_t end = list.find(", ", start);
    if (end == std::string::npos) end = list.size();
    const std::string item = strip(list.substr(start, end - start));
    start = end + 2;
    if (item == "*") {
      keyword_only = true;
      continue;
    }
    Param p = parse_param(op, item);
    p.keyword_only = keyword_only;
    if (!p.has_default) ++out.required;
    out.params.push_back(p);
  }
  const std::string result = text.substr(close + 5);
  if (result == "None") {
    out.outputs = 0;
  } else if (result == "Tensor[]") {
    out.outputs = -1;
  } else if (result.find(" | ") != std::string::npos) {
    out.outputs = -2;
  } else {
    out.outputs = 1;
    for (char c : result) out.outputs += c == ',';
  }
  return out;
}

}  // namespace annx
