// A table from ids to small numbers, for a recorder: one block of memory, nothing per entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace annx::program {

class IdMap {
 public:
  explicit IdMap(int bits) : bits_(bits), slots_(size_t{1} << bits) {}

  // The number of an id, or null. Holds until the next insertion.
  int* find(uint64_t id) {
    Slot& s = slot_of(id);
    return s.used ? &s.value : nullptr;
  }
  const int* find(uint64_t id) const { return const_cast<IdMap*>(this)->find(id); }

  // The number that the id has already, or null after giving it this one.
  int* insert(uint64_t id, int value) {
    if (int* known = find(id)) return known;
    if (2 * ++count_ > slots_.size()) grow();
    slot_of(id) = {id, value, true};
    return nullptr;
  }

 private:
  struct Slot {
    uint64_t id = 0;
    int value = 0;
    bool used = false;
  };

  Slot& slot_of(uint64_t id) {
    const size_t mask = slots_.size() - 1;
    size_t at = static_cast<size_t>((id * 0x9e3779b97f4a7c15u) >> (64 - bits_));
    while (slots_[at].used && slots_[at].id != id) at = (at + 1) & mask;
    return slots_[at];
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    ++bits_;
    for (const Slot& s : old)
      if (s.used) slot_of(s.id) = s;
  }

  int bits_;
  size_t count_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace annx::program
