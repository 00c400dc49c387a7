//! The outer form of a checkpoint image: magic, version, sections with length and checksum.
