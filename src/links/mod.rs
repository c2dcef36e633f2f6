//! Tracked links as rules: what a link may look like, where it leads, and what its UTM values may be. Pure.
