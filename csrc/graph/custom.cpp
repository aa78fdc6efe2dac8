#include "graph/custom.h"

namespace pd {

CustomHooks g_custom;

CustomCodeRef make_custom_code() {
  static uint64_t last = 0;
  auto code = std::make_shared<CustomCode>();
  code->id = ++last;
  return code;
}

Ref<Custom> custom_of(const CustomCodeRef& code, void* host) {
  if (code->live) return Ref<Custom>(code->live);
  Custom* c = new Custom;
  c->code = code;
  c->host = host;
  g_custom.share(host);
  code->live = c;
  return Ref<Custom>(c);
}

void retain(Custom* c) { ++c->refs; }
void release(Custom* c) {
  if (--c->refs) return;
  c->code->live = nullptr;
  void* host = c->host;
  delete c;
  g_custom.drop(host);  // last: it may run any code
}

}  // namespace pd
