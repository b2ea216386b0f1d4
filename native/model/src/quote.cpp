// Quoting for messages: cut to a length, and nothing in it that a terminal would act on.
#include "slora/model/quote.hpp"

namespace slora::model {
namespace {

constexpr size_t kMaxBytes = 160;

// Lets a cut never fall inside a UTF-8 character: messages go on as text.
bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

void append_printable(std::string& out, std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
}

}  // namespace

std::string quote(std::string_view text) {
  std::string quoted = "'";
  size_t kept = text.size();
  if (kept > kMaxBytes) {
    kept = kMaxBytes;
    while (kept > 0 && is_continuation(text[kept])) --kept;
  }
  append_printable(quoted, text.substr(0, kept));
  if (kept < text.size()) quoted += "...";
  return quoted += '\'';
}

std::string path_text(std::string_view path) {
  std::string shown;
  if (path.size() > kMaxBytes) {
    size_t begin = path.size() - kMaxBytes;
    while (begin < path.size() && is_continuation(path[begin])) ++begin;
    path.remove_prefix(begin);
    shown = "...";
  }
  append_printable(shown, path);
  return shown;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text += ']';
}

}  // namespace slora::model
