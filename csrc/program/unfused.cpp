#include "program/unfused.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "program/explain.h"
#include "program/fused.h"

namespace annx::program {

namespace {

bool elementwise(const Instruction& i) {
  return i.fused || (i.op && (i.op->flags & kElementwise) && i.out.size() == 1);
}

class Reasons {
 public:
  Reasons(const Program& p, size_t at) : p_(p), at_(at), i_(p.instructions[at]) {}

  std::string text() {
    const Value& out = value(i_.out[0]);
    if (out.numel <= 1) return "it computes one number";
    if (!is_dense(out) || out.offset != 0) return "its result has gaps in memory";
    // What a gradient reads besides what comes back to it was kept for it, and has to stay.
    const bool gradient =
        std::strstr(i_.op->name, "backward") || std::strcmp(i_.op->name, "dropout_kept") == 0;
    for (int k = 0; k < (gradient ? 1 : i_.in.size()); ++k)
      if (i_.in[k] >= 0 && value(i_.in[k]).numel > 1) look_back(i_.in[k]);
    look_ahead();
    std::string all;
    for (const std::string& part : parts_) {
      if (!all.empty()) all += "; ";
      all += part;
    }
    return all;
  }

 private:
  const Value& value(int v) const { return p_.values[static_cast<size_t>(v)]; }
  const Instruction& instruction(size_t at) const { return p_.instructions[at]; }
  static const char* name(const Instruction& i) {
    return i.host >= 0 ? "a function of the host" : i.fused ? "a fused group" : i.op->name;
  }

  void say(const std::string& part) {
    if (std::find(parts_.begin(), parts_.end(), part) == parts_.end()) parts_.push_back(part);
  }

  bool makes(const Instruction& i, int buffer) const {
    const auto here = [&](int v) { return v >= 0 && value(v).buffer == buffer; };
    return std::any_of(i.out.begin(), i.out.end(), here) ||
           std::find(i.writes.begin(), i.writes.end(), buffer) != i.writes.end();
  }
  bool reads(const Instruction& i, int buffer) const {
    return std::any_of(i.in.begin(), i.in.end(),
                       [&](int v) { return v >= 0 && value(v).buffer == buffer; });
  }

  // Why what makes an input does not compute this instruction as well.
  void look_back(int v) {
    const int buffer = value(v).buffer;
    size_t from = at_;
    while (from > 0 && !makes(instruction(from - 1), buffer)) --from;
    if (from == 0) return say(value_name(p_, v) + " is not computed here");
    const Instruction& maker = instruction(--from);
    if (elementwise(maker)) return say(beside(maker, maker.out[0]));
    const std::string unable = std::string(name(maker)) + ", which makes " + value_name(p_, v) +
                               ", does not compute " + i_.op->name + " too";
    if (!computes_activations(maker)) return say(unable);
    for (size_t k = from + 1; k < p_.instructions.size(); ++k) {
      if (k != at_ && reads(instruction(k), buffer))
        return say(value_name(p_, v) + " is read again by " + name(instruction(k)));
      if (k >= at_ && makes(instruction(k), buffer)) break;
    }
    if (p_.buffers[static_cast<size_t>(buffer)].kind != Buffer::Kind::temporary)
      return say(value_name(p_, v) + " is a result too");
    say(unable);
  }

  // Why no reader joins it.
  void look_ahead() {
    const int buffer = value(i_.out[0]).buffer;
    std::vector<std::string> others;
    bool written = false;
    for (size_t k = at_ + 1; k < p_.instructions.size() && !written; ++k) {
      const Instruction& reader = instruction(k);
      written = makes(reader, buffer);
      if (!reads(reader, buffer)) continue;
      if (elementwise(reader))
        say(beside(reader, reader.out[0]));
      else if (std::find(others.begin(), others.end(), name(reader)) == others.end())
        others.emplace_back(name(reader));
    }
    if (!others.empty()) {
      std::string names = others[0];
      for (size_t k = 1; k < others.size(); ++k)
        names += (k + 1 < others.size() ? ", " : " and ") + others[k];
      say(names + (others.size() > 1 ? ", which read it, are no elementwise ops"
                                     : ", which reads it, is no elementwise op"));
    }
    if (!written && p_.buffers[static_cast<size_t>(buffer)].kind == Buffer::Kind::result)
      say("its result is handed out");
  }

  // Of two elementwise instructions.
  std::string beside(const Instruction& other, int out) const {
    const Value &a = value(out), &b = value(i_.out[0]);
    const std::string who = name(other);
    if (a.shape != b.shape) return who + " beside it has another shape";
    if (a.strides != b.strides) return who + " beside it has another layout";
    return "something has to run between it and " + who;
  }

  const Program& p_;
  size_t at_;
  const Instruction& i_;
  std::vector<std::string> parts_;
};

}  // namespace

std::string why_alone(const Program& p, size_t at) {
  const Instruction& i = p.instructions[at];
  return !i.fused && elementwise(i) ? Reasons(p, at).text() : "";
}

}  // namespace annx::program
