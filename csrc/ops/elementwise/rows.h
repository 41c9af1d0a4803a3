// What a row of formulas may use. A row is text that is compiled twice: over SIMD vectors as the
// kernel, and over Tensors as the differentiable rule, so a formula is written once.
//
//   ANNX_UNARY(name, Domain, Uses, (forward), (derivative), signature, doc)
//     Domain   Real (integers become float32) or Number (integers stay)
//     Uses     what the derivative reads beside g: None, X (input), Y (output), XY
//     forward, derivative   expressions of x, g, y with C(constant), P(i) (attribute i as a number),
//              + - * /, and the functions of simd/ and numerics/ that ops/functional.h also has
//
//   ANNX_BINARY(name, Domain, (forward of a, b), (gradient for a), (gradient for b), Saves, doc)
//     the gradients are Tensor expressions of g, a, b, y
//   ANNX_COMPARE(name, (forward of a, b), doc)        bool result, no gradient
#pragma once

#define ANNX_STRIP(...) __VA_ARGS__
#define ANNX_EXPRESSION(parenthesised) ANNX_STRIP parenthesised
