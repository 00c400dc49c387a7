/* A program linked statically that can be loaded anywhere. */
#include "linked.h"
