//! What roam-display and a viewer say to each other: windows, tiles, input.
