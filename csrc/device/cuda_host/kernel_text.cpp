// Finds kernels and dynamic shared memory in a kernel's text, by its words.
#include "kernel_text.h"

#include <algorithm>

namespace pd_host {

namespace {

bool is_word(char c) { return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The text with the inside of comments and literals and with lines of the preprocessor blanked: the same length, so
// that places in one are places in the other.
std::string blanked(const std::string& text) {
  std::string out = text;
  auto blank = [&](size_t from, size_t to) {
    for (size_t i = from; i < to && i < out.size(); i++)
      if (out[i] != '\n') out[i] = ' ';
  };
  bool line_begins = true;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    size_t end = i + 1;
    if (text.compare(i, 2, "//") == 0) {
      end = std::min(text.find('\n', i), text.size());
      blank(i, end);
    } else if (text.compare(i, 2, "/*") == 0) {
      size_t close = text.find("*/", i + 2);
      end = close == std::string::npos ? text.size() : close + 2;
      blank(i, end);
    } else if (c == '#' && line_begins) {
      do {
        end = std::min(text.find('\n', end), text.size() - 1) + 1;
      } while (end < text.size() && end >= 2 && text[end - 2] == '\\');
      blank(i, end);
    } else if (c == '"' || (c == '\'' && !(i && is_word(text[i - 1])))) {
      while (end < text.size() && text[end] != c && text[end] != '\n') end += text[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, text.size());
      blank(i + 1, end - 1);
    }
    if (end > i + 1) line_begins = text[std::min(end, text.size()) - 1] == '\n' || (line_begins && text[i] == '/');
    else line_begins = c == '\n' || (line_begins && (c == ' ' || c == '\t'));
    i = end;
  }
  return out;
}

size_t skip_space(const std::string& t, size_t i) {
  while (i < t.size() && (t[i] == ' ' || t[i] == '\t' || t[i] == '\n' || t[i] == '\r')) i++;
  return i;
}

size_t skip_parentheses(const std::string& t, size_t i) {
  int depth = 0;
  for (; i < t.size(); i++) {
    if (t[i] == '(') depth++;
    if (t[i] == ')' && --depth == 0) return i + 1;
  }
  return i;
}

}  // namespace

std::vector<std::string> kernel_names(const std::string& text) {
  const std::string clean = blanked(text);
  std::vector<std::string> names;
  bool block = false;  // inside of `extern "C" { … }`
  for (size_t i = 0; i < clean.size();) {
    if (!is_word(clean[i])) {
      i++;
      continue;
    }
    size_t end = i;
    while (end < clean.size() && is_word(clean[end])) end++;
    const std::string word = clean.substr(i, end - i);
    const size_t begin = i;
    i = end;
    bool starts = word == "PD_KERNEL";
    if (word == "extern") {
      size_t p = skip_space(clean, end);
      if (p < clean.size() && clean[p] == '"' && clean[skip_space(clean, p + 3)] == '{') block = true;
    }
    if (word == "__global__") {
      size_t statement = clean.find_last_of(";}{", begin);
      std::string before = clean.substr(statement == std::string::npos ? 0 : statement + 1,
                                        begin - (statement == std::string::npos ? 0 : statement + 1));
      starts = block || (before.find("extern") != std::string::npos && before.find('"') != std::string::npos);
    }
    if (!starts) continue;
    std::string name;
    for (size_t p = skip_space(clean, end); p < clean.size(); p = skip_space(clean, p)) {
      if (clean[p] == '(') {
        if (name != "__launch_bounds__") break;
        p = skip_parentheses(clean, p);
        continue;
      }
      if (!is_word(clean[p])) {
        name.clear();
        break;
      }
      size_t e = p;
      while (e < clean.size() && is_word(clean[e])) e++;
      name = clean.substr(p, e - p);
      p = e;
    }
    bool known = name.empty();
    for (auto& n : names) known = known || n == name;
    if (!known) names.push_back(name);
  }
  return names;
}

bool needs_preprocessor(const std::string& text) {
  auto mentions = [](const std::string& line) {
    return line.find("PD_KERNEL") != std::string::npos || line.find("__global__") != std::string::npos;
  };
  int depth = 0;
  for (size_t i = 0; i < text.size();) {
    size_t end = std::min(text.find('\n', i), text.size());
    while (end < text.size() && end > i && text[end - 1] == '\\') end = std::min(text.find('\n', end + 1), text.size());
    const std::string line = text.substr(i, end - i);
    i = end + 1;
    size_t hash = skip_space(line, 0);
    if (hash >= line.size() || line[hash] != '#') {
      if (depth && mentions(line)) return true;
      continue;
    }
    const size_t word = skip_space(line, hash + 1);
    if (line.compare(word, 2, "if") == 0) depth++;
    else if (line.compare(word, 5, "endif") == 0) depth--;
    else if (line.compare(word, 6, "define") == 0) {
      const size_t name = skip_space(line, word + 6);
      if (line.compare(name, 9, "PD_KERNEL") != 0 && mentions(line)) return true;
    }
  }
  return false;
}

std::string with_dynamic_shared(const std::string& text) {
  const std::string clean = blanked(text);
  std::string out;
  size_t done = 0;
  int depth = 0;
  for (size_t i = 0; i < clean.size(); i++) {
    depth += clean[i] == '{' ? 1 : clean[i] == '}' ? -1 : 0;
    if (clean.compare(i, 6, "extern") != 0 || (i && is_word(clean[i - 1])) || is_word(clean[i + 6])) continue;
    size_t end = clean.find(';', i), bracket = clean.rfind('[', end);
    if (end == std::string::npos || bracket == std::string::npos || bracket < i) continue;
    if (clean.find('{', i) < end) continue;  // `extern "C" … {`, whose first statement may be what is looked for
    std::string declared = clean.substr(i + 6, bracket - i - 6);
    size_t shared = declared.find("__shared__");
    if (shared == std::string::npos) continue;
    declared.replace(shared, 10, "");
    for (const char* word : {"__align__", "alignas"}) {
      size_t at = declared.find(word);
      if (at != std::string::npos) declared.erase(at, skip_parentheses(declared, at) - at);
    }
    size_t last = declared.find_last_not_of(" \t\n");
    if (last == std::string::npos) continue;
    size_t first = last + 1;
    while (first && is_word(declared[first - 1])) first--;
    const std::string name = declared.substr(first, last + 1 - first), type = declared.substr(0, first);
    out += text.substr(done, i - done);
    if (depth) out += type + "* const " + name + " = (" + type + "*)pd_module.block->dynamic_shared";
    else out += "static const pd_host::Dynamic<" + type + "> " + name + " = {}";
    for (char c : clean.substr(i, end - i))
      if (c == '\n') out += ' ';
    done = end;
    i = end;
  }
  return out + text.substr(done);
}

}  // namespace pd_host
