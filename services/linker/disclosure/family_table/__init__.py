"""The family table: one row a family with children, coarsened until no row is one family's alone."""

from linker.disclosure.family_table.code_families import code_families
from linker.disclosure.family_table.table import FamilyTable, FamilyTableRecord, Refusal

__all__ = ["FamilyTable", "FamilyTableRecord", "Refusal", "code_families"]
