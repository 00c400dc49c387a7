//! What two keepers say to each other during a move.
