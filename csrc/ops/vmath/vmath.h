// Every mathematical function of pydiff, over the value types of scalar.h.
//
// Within 1 ulp: exp log rsqrt log1p expm1; within 2: the other elementary functions; within 4: special functions away
// from zeros that are not at 0; over all finite arguments, denormals included. tests/accuracy.py measures this.
#pragma once
#include "ops/vmath/bessel.h"
#include "ops/vmath/error_function.h"
#include "ops/vmath/explog.h"
#include "ops/vmath/gamma.h"
#include "ops/vmath/hyperbolic.h"
#include "ops/vmath/normal.h"
#include "ops/vmath/philox.h"
#include "ops/vmath/power.h"
#include "ops/vmath/trig.h"
#include "ops/vmath/two_numbers.h"
