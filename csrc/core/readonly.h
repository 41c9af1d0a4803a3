// Memory that must not be written: of NumPy arrays that are read-only, files mapped for reading.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace annx {

// Such storages are few: a list beside them, by id. Forget one when its memory is released.
void mark_readonly(uint64_t storage);
void forget_readonly(uint64_t storage);

bool is_readonly(const Tensor& t);

// Throws where t lies in such memory. Called ahead of writes by ops that write into inputs.
void check_writable(const Tensor& t, const char* op);

}  // namespace annx
