//! What a keeper says to roam-init, the pod's pid 1, and what it answers.
