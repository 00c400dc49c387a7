//! What two agents say to each other over the link.
