#include "program/explain.h"

#include <algorithm>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>

#include "program/constants.h"
#include "program/fused.h"
#include "program/unfused.h"

namespace annx::program {

namespace {

__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...) {
  char text[512];
  va_list args;
  va_start(args, pattern);
  std::vsnprintf(text, sizeof text, pattern, args);
  va_end(args);
  return text;
}

std::string shape_text(const Dims& shape) {
  std::string out = "(";
  for (int i = 0; i < shape.size(); ++i) {
    if (i) out += ", ";
    out += std::to_string(shape[i]);
  }
  out += shape.size() == 1 ? ",)" : ")";
  return out;
}

std::string attr_text(const Attr& a) {
  switch (a.kind()) {
    case Attr::Kind::none:
      return "None";
    case Attr::Kind::boolean:
      return a.b() ? "True" : "False";
    case Attr::Kind::integer:
      return std::to_string(a.i());
    case Attr::Kind::real:
      return format("%g", a.f());
    case Attr::Kind::text:
      return format("'%s'", a.text());
    case Attr::Kind::dtype:
      return name(a.dtype());
    case Attr::Kind::ints: {
      std::string out = "[";
      for (int i = 0; i < a.ints().size(); ++i) {
        if (i) out += ", ";
        out += std::to_string(a.ints()[i]);
      }
      out += "]";
      return out;
    }
  }
  return "";
}

Tensor stand_in(const Program& p, int v) {
  if (v < 0) return Tensor();
  const Value& value = p.values[static_cast<size_t>(v)];
  return Tensor::from_storage(Storage::wrap(nullptr, 0, Device(), [] {}), value.shape,
                              value.strides, value.dtype);
}

double bytes_of(const Program& p, int v) {
  if (v < 0) return 0;
  const Value& value = p.values[static_cast<size_t>(v)];
  return static_cast<double>(value.numel) * static_cast<double>(itemsize(value.dtype));
}

Line line_of(const Program& p, const Instruction& i) {
  Line line;
  if (i.host >= 0) {
    line.name = "host call";
    line.text = "a function of the host runs here";
    return line;
  }
  std::string outs, ins;
  for (int v : i.out) {
    if (!outs.empty()) outs += ", ";
    outs += value_name(p, v);
    if (v >= 0) outs += shape_text(p.values[static_cast<size_t>(v)].shape);
  }
  for (int k = 0; k < i.in.size() && k < 8; ++k) {
    const int v = i.in[k];
    if (k) ins += ", ";
    ins += value_name(p, v);
    if (v >= 0) ins += shape_text(p.values[static_cast<size_t>(v)].shape);
  }
  if (i.in.size() > 8) ins += format(", … %d tensors in all", i.in.size());
  for (int v : i.in) line.bytes += bytes_of(p, v);
  for (int v : i.out) line.bytes += bytes_of(p, v);
  const std::string result = i.out.size() > 0 ? outs + " = " : "";
  if (i.fused) {
    line.name = "fused";
    std::string members;
    for (const FusedNode& n : i.fused->nodes) {
      if (!members.empty()) members += ' ';
      members += n.op->name;
      line.flops += static_cast<double>(numel_of(i.fused->shape));
    }
    line.text = result;
    line.text.append("fused[").append(members).append("](").append(ins).append(")");
    return line;
  }
  line.name = i.op->name;
  OpCall c;
  c.op = i.op;
  c.attrs = i.attrs;
  for (int v : i.in) c.inputs.push_back(stand_in(p, v));
  for (int v : i.out) c.outputs.push_back(stand_in(p, v));
  const Cost cost = op_cost(c);
  line.flops = cost.flops;
  line.bytes = cost.bytes;
  std::string attrs;
  for (int k = 0; k < i.attrs.size(); ++k) {
    attrs += k ? ", " : "; ";
    attrs += k == 0 && i.draw >= 0 ? format("random %d", i.draw) : attr_text(i.attrs[k]);
  }
  line.text = result;
  line.text.append(i.op->name).append("(").append(ins).append(attrs).append(")");
  return line;
}

// Constants of the program alone are told by their values, parameters and state by their memory.
void append_external(const Buffer& b, std::string& out) {
  if (b.storage->use_count() > 1) {
    out += format("@%" PRIu64, b.storage->id());
    return;
  }
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  const auto* data = static_cast<const unsigned char*>(b.storage->data());
  for (size_t k = 0; k < b.storage->bytes(); ++k) hash = (hash ^ data[k]) * 1099511628211u;
  out += format("#%" PRIx64, hash);
}

// Whether the kernel may keep what it makes of weights, as OpDef::prepare says.
bool prepares(const Program& p, const Instruction& i, const std::vector<char>& constant) {
  if (!i.op || !i.op->prepare) return false;
  return std::any_of(i.in.begin(), i.in.end(), [&](int v) {
    return v >= 0 && constant[static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer)];
  });
}

}  // namespace

std::string value_name(const Program& p, int v) {
  if (v < 0) return "None";
  const Value& value = p.values[static_cast<size_t>(v)];
  const Buffer& b = p.buffers[static_cast<size_t>(value.buffer)];
  switch (b.kind) {
    case Buffer::Kind::argument:
      return format("arg%d", b.index);
    case Buffer::Kind::gradient:
      return format("grad%d", b.index);
    case Buffer::Kind::external:
      return format("ext%d", value.buffer);
    case Buffer::Kind::constant:
      return format("const%d", value.buffer);
    case Buffer::Kind::result:
      return format("res%d", value.buffer);
    default:
      return format("t%d", value.buffer);
  }
}

std::vector<Line> lines(const Program& p) {
  std::vector<Line> out;
  for (const Instruction& i : p.instructions) out.push_back(line_of(p, i));
  return out;
}

std::string explain(const Program& p) {
  const std::vector<Line> all = lines(p);
  double flops = 0, bytes = 0;
  std::string body;
  const std::vector<char> constant = p.prepared ? constant_buffers(p) : std::vector<char>();
  for (size_t k = 0; k < all.size(); ++k) {
    flops += all[k].flops;
    bytes += all[k].bytes;
    body += format("%4zu  ", k);
    body.append(all[k].text);
    if (!constant.empty() && prepares(p, p.instructions[k], constant))
      body += "  weights kept ready";
    body.append("\n");
    const std::string why = why_alone(p, k);
    if (!why.empty()) body.append("      not fused: ").append(why).append("\n");
  }
  std::string out = format("%zu instructions (%d recorded), %.6g FLOPs, %.6g bytes moved\n",
                           all.size(), p.recorded, flops, bytes);
  out += format(
      "arena %zu bytes, most alive at once %zu bytes (%.3f times)\n", p.arena_bytes, p.live_bytes,
      p.live_bytes ? static_cast<double>(p.arena_bytes) / static_cast<double>(p.live_bytes) : 1.0);
  for (const Instruction& i : p.folded) body += "once  " + line_of(p, i).text + "\n";
  for (const PassNote& n : p.notes) out.append(n.pass).append(": ").append(n.text).append("\n");
  return out.append(body);
}

std::string fingerprint(const Program& p) {
  std::string out;
  for (const Instruction& i : p.instructions) {
    out += i.op ? i.op->name : "host";
    for (int k = 0; k < i.attrs.size(); ++k) {
      out += ';';
      out += i.draw >= 0 && k == 0 ? format("r%d", i.draw) : attr_text(i.attrs[k]);
    }
    for (const Ids* list : {&i.in, &i.out}) {
      for (int v : *list) {
        out += '|';
        out += value_name(p, v);
        if (v < 0) continue;
        const Value& value = p.values[static_cast<size_t>(v)];
        out += shape_text(value.shape);
        out += format("+%" PRId64, value.offset);
        const Buffer& b = p.buffers[static_cast<size_t>(value.buffer)];
        if (b.kind == Buffer::Kind::external) append_external(b, out);
      }
    }
    out += "\n";
  }
  return out;
}

}  // namespace annx::program
