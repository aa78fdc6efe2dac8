// Which nodes keep the line that recorded them (LocationHooks in value.h): those that may fail, or all.
#pragma once

namespace pd {

extern bool g_locate_all;  // while a profiler wants to know; under the GIL

}  // namespace pd
