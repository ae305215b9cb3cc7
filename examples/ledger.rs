//! Declared access without an EVM: a ledger with keys, values and tasks of its own.
//!
//! `cargo run --release --no-default-features --example ledger`

use lockweave::banking_stage::{
    BankingStage, Declare, StageConfig, Table, TableCells, TableTask, Undeclared,
};

/// Who holds money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Customer(u32),
    Bank,
}

/// Moves an amount, if the sender has it, and pays the bank a fee of one.
struct Transfer {
    from: u32,
    to: u32,
    amount: u64,
}

impl TableTask<Holder, u64> for Transfer {
    type Error = Undeclared<Holder>;

    /// What the task will touch: named before it runs, held while it does.
    fn access(&self, declare: &mut Declare<'_, Holder>) {
        declare
            .write(&Holder::Customer(self.from))
            .write(&Holder::Customer(self.to))
            .write(&Holder::Bank);
    }

    fn run(&self, cells: &mut TableCells<'_, Holder, u64>) -> Result<(), Self::Error> {
        let from = cells.write(&Holder::Customer(self.from))?;
        let Some(rest) = from.checked_sub(self.amount + 1) else {
            return Ok(());
        };
        *from = rest;
        *cells.write(&Holder::Customer(self.to))? += self.amount;
        *cells.write(&Holder::Bank)? += 1;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let customers = 1_000;
    let table: Table<_, _> = (0..customers)
        .map(|customer| (Holder::Customer(customer), 100))
        .chain([(Holder::Bank, 0)])
        .collect();
    let transfers: Vec<_> = (0..20_000_u32)
        .map(|number| Transfer {
            from: number * 7 % customers,
            to: number * 13 % customers,
            amount: u64::from(number % 11),
        })
        .collect();

    let stage = BankingStage::new(StageConfig::default())?;
    let (mut table, result) = stage.run_table(table, transfers);
    let stats = result?;

    let mut total = 0;
    table.for_each(|_, balance| total += *balance);
    let fees = table.get(&Holder::Bank).copied().unwrap_or_default();
    println!("{} transfers, {fees} of them paid a fee", stats.tasks);
    assert_eq!(total, 100 * u64::from(customers), "money is only moved");
    assert!(fees > 0);
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
