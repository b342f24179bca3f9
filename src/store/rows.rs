//! Many rows at once, in statements whose texts repeat.

use sea_orm::sea_query::Value;
use sea_orm::{ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, Statement};

/// Rows in one statement, at most. Numbers of rows are cut into powers of two below it, so that a handful of texts serves
/// every number, and both databases find them in their caches of prepared statements.
const ROWS: usize = 128;

/// Cuts a list into pieces of 128, 64, … 1.
pub fn pieces<T>(mut rest: Vec<T>) -> Vec<Vec<T>> {
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let size = rest.len().min(ROWS);
        let size = 1 << size.ilog2();
        let tail = rest.split_off(size);
        pieces.push(std::mem::replace(&mut rest, tail));
    }
    pieces
}

/// Inserts rows that must be new.
pub async fn insert<A>(transaction: &DatabaseTransaction, rows: Vec<A>) -> Result<(), DbErr>
where
    A: ActiveModelTrait + Send + Sync,
{
    for piece in pieces(rows) {
        A::Entity::insert_many(piece).exec_without_returning(transaction).await?;
    }
    Ok(())
}

/// Updates many rows, each to values of its own: `key` and `columns` name what the values of a row stand for, the key
/// first. The types are PostgreSQL's, which cannot guess them in a list of values.
pub async fn update(
    transaction: &DatabaseTransaction,
    table: &str,
    key: (&str, &str),
    columns: &[(&str, &str)],
    rows: Vec<Vec<Value>>,
) -> Result<(), DbErr> {
    let backend = transaction.get_database_backend();
    for piece in pieces(rows) {
        let sql = update_text(backend, table, key, columns, piece.len());
        let values = piece.into_iter().flatten();
        transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    }
    Ok(())
}

fn update_text(backend: DbBackend, table: &str, key: (&str, &str), columns: &[(&str, &str)], rows: usize) -> String {
    let types: Vec<&str> = std::iter::once(key.1).chain(columns.iter().map(|(_, kind)| *kind)).collect();
    let mut number = 0;
    let mut row = || {
        let cells = types.iter().map(|kind| {
            number += 1;
            match backend {
                DbBackend::Postgres => format!("CAST(${number} AS {kind})"),
                _ => format!("?{number}"),
            }
        });
        format!("({})", cells.collect::<Vec<_>>().join(", "))
    };
    let values = (0..rows).map(|_| row()).collect::<Vec<_>>().join(", ");
    // Both databases name the columns of a list of values column1, column2, …
    let sets = columns.iter().enumerate().map(|(i, (name, _))| format!("{name} = v.column{}", i + 2));
    let sets = sets.collect::<Vec<_>>().join(", ");
    format!("UPDATE {table} SET {sets} FROM (VALUES {values}) AS v WHERE {table}.{} = v.column1", key.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_is_cut_into_powers_of_two_in_order() {
        for count in [0, 1, 2, 3, 127, 128, 129, 1_000] {
            let cut = pieces((0..count).collect());
            assert!(cut.iter().all(|piece| piece.len().is_power_of_two() && piece.len() <= ROWS));
            assert_eq!(cut.concat(), (0..count).collect::<Vec<_>>());
        }
    }
}
