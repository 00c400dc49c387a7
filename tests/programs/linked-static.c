/* A program linked statically: no loader, no shared library, the same behaviour. */
#include "linked.h"
