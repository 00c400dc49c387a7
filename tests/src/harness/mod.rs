//! What every story needs: waiting for events, limits of time, a lab that is taken down whatever
//! happens, and counting.
//!
//! | module | what |
//! |---|---|
//! | [`wait`] | until a file is there, until a command has ended; never by looking again and again |
//! | [`guard`] | a lab that ends with its test, even if the test is killed |
//! | [`report`] | the table and the closing line `N passed, N failed` |

pub mod guard;
pub mod report;
pub mod wait;
