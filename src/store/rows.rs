//! Many rows at once, in statements whose texts repeat: both databases find them in their caches of prepared statements.
//!
//! A statement costs PostgreSQL a round trip, so it gets rows as one value of JSON, whose text serves any number of them;
//! only where there are many does it pay to give each value as a parameter, which takes PostgreSQL a quarter less time to
//! read. SQLite is in the process and always gets parameters. Statements are written here rather than by sea-orm, whose
//! expressions for 128 rows of 22 columns are thousands of allocations.

use std::fmt::Write as _;

use sea_orm::sea_query::Value;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityName as _, EntityTrait,
    IdenStatic as _, Iterable as _, Statement,
};
use serde::ser::{Error as _, Serialize, Serializer};

/// Rows in one statement, at most.
const ROWS: usize = 128;

/// So many rows and more go to PostgreSQL as parameters.
const MANY: usize = 64;

/// A statement with `$1`, `$2`, … where its values go. SQLite numbers its parameters with `?1`; `$1` would be a name to it.
pub fn statement(backend: DbBackend, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    match backend {
        DbBackend::Postgres => Statement::from_sql_and_values(backend, text, values),
        _ => Statement::from_sql_and_values(backend, text.replace('$', "?"), values),
    }
}

/// Lists for `column IN (…)`: of at most 128, each filled up to a power of two by repeating its last element, so that a
/// handful of texts serves every number.
pub fn lists<T: Clone>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    pieces(all, |rest| rest.min(ROWS)).map(|mut list| {
        if let Some(last) = list.last().cloned() {
            list.resize(list.len().next_power_of_two(), last);
        }
        list
    })
}

/// Cuts a list; `size` says how much of a rest goes into the next piece.
fn pieces<T>(all: Vec<T>, size: impl Fn(usize) -> usize) -> impl Iterator<Item = Vec<T>> {
    let mut rest = all.into_iter();
    std::iter::from_fn(move || match rest.len() {
        0 => None,
        left => Some(rest.by_ref().take(size(left)).collect()),
    })
}

/// What cannot be filled up is cut into powers of two: 200 rows into 128, 64 and 8.
fn power_of_two(left: usize) -> usize {
    1 << left.min(ROWS).ilog2()
}

/// Whether so many rows are inserted by one statement that may compute a column.
pub fn is_one_statement(backend: DbBackend, count: usize) -> bool {
    backend == DbBackend::Postgres && count < MANY
}

/// Inserts rows that must be new. All of them set the same columns.
pub async fn insert<A>(transaction: &DatabaseTransaction, rows: Vec<A>) -> Result<(), DbErr>
where
    A: ActiveModelTrait + Send + Sync,
{
    insert_with(transaction, rows, None).await
}

/// The same; where it [is one statement](is_one_statement), a column may be computed from the row `v`.
pub async fn insert_with<A>(
    transaction: &DatabaseTransaction,
    rows: Vec<A>,
    computed: Option<(&str, &str)>,
) -> Result<(), DbErr>
where
    A: ActiveModelTrait + Send + Sync,
{
    let Some(first) = rows.first() else { return Ok(()) };
    // What the database numbers itself is set in none.
    let columns: Vec<_> =
        <A::Entity as EntityTrait>::Column::iter().filter(|column| first.get(*column).is_set()).collect();
    let cells = |mut row: A| -> Result<Vec<Value>, DbErr> {
        let cell = |column: &_| row.take(*column).into_value();
        let cells: Option<Vec<Value>> = columns.iter().map(cell).collect();
        cells.ok_or_else(|| DbErr::Custom("rows of one insert set different columns".into()))
    };
    let cells: Vec<Vec<Value>> = rows.into_iter().map(cells).collect::<Result<_, _>>()?;
    let names: Vec<&str> = columns.iter().map(|column| column.as_str()).collect();
    let table = A::Entity::default();
    let table = table.table_name();
    let list = format!("\"{}\"", names.join("\", \""));
    let backend = transaction.get_database_backend();
    let size = |left| match backend {
        // What no text of many parameters fits goes together, as JSON.
        DbBackend::Postgres if left < MANY => left,
        _ => power_of_two(left),
    };
    for piece in pieces(cells, size) {
        if backend == DbBackend::Postgres && piece.len() < MANY {
            let cells = names.iter().map(|name| match computed {
                Some((column, expression)) if column == *name => expression.to_owned(),
                _ => format!("v.\"{name}\""),
            });
            let text = format!(
                "INSERT INTO {table} ({list}) SELECT {} \
                 FROM json_populate_recordset(NULL::{table}, CAST($1 AS json)) AS v",
                joined(cells)
            );
            execute(transaction, text, [json(&names, &piece)?.into()]).await?;
        } else {
            let text = format!("INSERT INTO {table} ({list}) VALUES {}", marks(backend, piece.len(), names.len()));
            execute(transaction, text, piece.into_iter().flatten()).await?;
        }
    }
    Ok(())
}

/// Updates many rows, each to values of its own: `key` and `columns` name what the values of a row stand for, the key
/// first, each with PostgreSQL's type.
pub async fn update(
    transaction: &DatabaseTransaction,
    table: &str,
    key: (&str, &str),
    columns: &[(&str, &str)],
    rows: Vec<Vec<Value>>,
) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    let all = || std::iter::once(&key).chain(columns);
    match transaction.get_database_backend() {
        DbBackend::Postgres => {
            let sets = joined(columns.iter().map(|(name, _)| format!("{name} = v.{name}")));
            let types = joined(all().map(|(name, kind)| format!("{name} {kind}")));
            let text = format!(
                "UPDATE {table} SET {sets} FROM json_to_recordset(CAST($1 AS json)) AS v({types}) WHERE {table}.{key} = v.{key}",
                key = key.0,
            );
            let names: Vec<&str> = all().map(|(name, _)| *name).collect();
            execute(transaction, text, [json(&names, &rows)?.into()]).await
        }
        _ => {
            // SQLite names the columns of a list of values column1, column2, …
            let sets = joined(columns.iter().enumerate().map(|(i, (name, _))| format!("{name} = v.column{}", i + 2)));
            for piece in pieces(rows, power_of_two) {
                let values = marks(DbBackend::Sqlite, piece.len(), columns.len() + 1);
                let text = format!(
                    "UPDATE {table} SET {sets} FROM (VALUES {values}) AS v WHERE {table}.{} = v.column1",
                    key.0
                );
                execute(transaction, text, piece.into_iter().flatten()).await?;
            }
            Ok(())
        }
    }
}

async fn execute(
    transaction: &DatabaseTransaction,
    text: String,
    values: impl IntoIterator<Item = Value>,
) -> Result<(), DbErr> {
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), text, values);
    transaction.execute_raw(statement).await.map(drop)
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// `($1, $2), ($3, $4)`; for SQLite with bare question marks, since it looks numbered ones up one after the other, which
/// for thousands of them takes longer than the insert.
fn marks(backend: DbBackend, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 8);
    for cell in 0..rows * columns {
        text.push_str(match (cell, cell % columns) {
            (0, _) => "(",
            (_, 0) => "), (",
            _ => ", ",
        });
        // Writing to a string cannot fail.
        let _ = match backend {
            DbBackend::Postgres => write!(text, "${}", cell + 1),
            _ => write!(text, "?"),
        };
    }
    text.push(')');
    text
}

/// The rows as PostgreSQL reads them: an array of objects.
fn json(names: &[&str], rows: &[Vec<Value>]) -> Result<String, DbErr> {
    let rows: Vec<Row<'_>> = rows.iter().map(|cells| Row { names, cells }).collect();
    serde_json::to_string(&rows).map_err(|error| DbErr::Custom(error.to_string()))
}

struct Row<'a> {
    names: &'a [&'a str],
    cells: &'a [Value],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A member that is missing is read as NULL.
        let known = |(_, cell): &(&&str, &Value)| **cell != cell.as_null();
        serializer.collect_map(self.names.iter().zip(self.cells).filter(known).map(|(name, cell)| (name, Cell(cell))))
    }
}

struct Cell<'a>(&'a Value);

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(value) => value.serialize(serializer),
            Value::SmallInt(value) => value.serialize(serializer),
            Value::Int(value) => value.serialize(serializer),
            Value::BigInt(value) => value.serialize(serializer),
            Value::String(value) => value.serialize(serializer),
            Value::Uuid(value) => value.serialize(serializer),
            Value::Bytes(value) => {
                value.as_ref().map(|bytes| format!("\\x{}", hex::encode(bytes))).serialize(serializer)
            }
            other => Err(S::Error::custom(format!("no column holds {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_is_cut_into_powers_of_two_in_order() {
        for count in [0, 1, 2, 3, 127, 128, 129, 1_000] {
            let cut: Vec<Vec<usize>> = pieces((0..count).collect(), power_of_two).collect();
            assert!(cut.iter().all(|piece| piece.len().is_power_of_two() && piece.len() <= ROWS));
            assert_eq!(cut.concat(), (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn lists_hold_everything_and_have_few_lengths() {
        for count in [0, 1, 3, 127, 128, 200, 1_000] {
            let lists: Vec<Vec<usize>> = lists((0..count).collect()).collect();
            assert_eq!(lists.len(), usize::div_ceil(count, ROWS));
            assert!(lists.iter().all(|list| list.len().is_power_of_two() && list.len() <= ROWS));
            let mut all = lists.concat();
            all.dedup();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn parameters_are_marked_as_each_database_reads_them() {
        assert_eq!(marks(DbBackend::Postgres, 2, 2), "($1, $2), ($3, $4)");
        assert_eq!(marks(DbBackend::Sqlite, 2, 2), "(?, ?), (?, ?)");
    }

    #[test]
    fn rows_are_written_as_postgres_reads_them() {
        let cells = vec![
            i64::MAX.into(),
            Option::<bool>::None.into(),
            "a\n\"b\"".into(),
            vec![0_u8, 255].into(),
            uuid::Uuid::nil().into(),
        ];
        let text = json(&["number", "none", "text", "bytes", "id"], &[cells]).unwrap();
        let expected = concat!(
            r#"[{"number":9223372036854775807,"text":"a\n\"b\"","bytes":"\\x00ff","#,
            r#""id":"00000000-0000-0000-0000-000000000000"}]"#
        );
        assert_eq!(text, expected);
    }
}
