//! The database behind the store. All that names SQLite is in [`sqlite`]; the rest of the crate uses these aliases and
//! SQL that PostgreSQL takes as well, so a second backend is a second file here.

mod sqlite;

pub(crate) use sqlite::{Backend, Connection, Executor, Pool, Row, Transaction};
