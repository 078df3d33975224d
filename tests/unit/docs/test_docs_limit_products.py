"""What the page on limits says that clients can take is what the bounds multiply to."""

from __future__ import annotations

import pytest

from tests.unit.docs.docs_pages import DOCS, rows, section
from tests.unit.docs.limit_products import PRODUCTS, Product

ON_THE_PAGE = {
    cells[0]: cells
    for cells in rows(section(DOCS / "reference/limits.md", "What one client, and all of them together, can take"))
}


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.kind)
def test_product_in_the_reference(product: Product) -> None:
    """The page has the row that follows from the defaults and constants; the failure shows it."""
    cells = product.cells()
    assert ON_THE_PAGE.get(product.kind) == cells, f"the row should be: | {' | '.join(cells)} |"


def test_kinds_of_the_reference() -> None:
    """The page has no other rows, and the same order."""
    assert list(ON_THE_PAGE) == [product.kind for product in PRODUCTS]
