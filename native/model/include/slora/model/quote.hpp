// How text that came out of a file appears in a message: quoted, one line, of bounded length.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace slora::model {

// 'text' with control characters as '?' and everything past 160 bytes as "...".
std::string quote(std::string_view text);

// The same for a path, which keeps its end: without quotes, control characters as '?'.
std::string path_text(std::string_view path);

// "[4, 64]"
std::string shape_text(std::span<const int64_t> shape);

}  // namespace slora::model
