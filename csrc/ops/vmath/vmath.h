// Every mathematical function of pydiff, over the value types of scalar.h.
//
// Within 1 ulp of the correctly rounded value: exp log rsqrt log1p expm1; within 2: the others; over all
// finite arguments, denormals included. tests/host/test_vmath.py measures this.
#pragma once
#include "ops/vmath/error_function.h"
#include "ops/vmath/explog.h"
#include "ops/vmath/hyperbolic.h"
#include "ops/vmath/philox.h"
#include "ops/vmath/power.h"
#include "ops/vmath/trig.h"
