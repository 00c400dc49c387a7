/* A program that must be loaded where it was linked to: low addresses, the heap behind it. */
#include "linked.h"
