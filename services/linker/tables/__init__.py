"""Services, spending, target groups and coverage: from facts to tables, all before the gate."""
