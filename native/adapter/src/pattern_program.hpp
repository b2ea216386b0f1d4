// A compiled pattern: instructions of a Thompson machine (Thompson 1968; Pike's virtual machine
// without captures).
#pragma once

#include <bitset>
#include <cstdint>
#include <string_view>
#include <vector>

#include "slora/adapter/pattern.hpp"

namespace slora::adapter {

using CharSet = std::bitset<256>;

enum class Op : uint8_t {
  kChar,   // takes one byte of `set`, goes on at `next`
  kSplit,  // goes on at `next` and at `other`
  kBegin,  // goes on if nothing has been read
  kEnd,    // goes on if all has been read
  kMatch,
};

struct Instruction {
  Op op;
  int32_t next = -1;
  int32_t other = -1;
  int32_t set = -1;
};

struct Pattern::Program {
  std::vector<Instruction> instructions;
  std::vector<CharSet> sets;
  int32_t start = 0;
};

// pattern_parser.cpp
void compile_pattern(std::string_view expression, std::vector<Instruction>* out_instructions,
                     std::vector<CharSet>* out_sets, int32_t* out_start);

}  // namespace slora::adapter
