"""A page for each result: what a person looks at before trusting a mask and a line."""

from geounet.result_page.page import INDEX, PAGE, PICTURE, report_results, write_page
from geounet.result_page.result import Result

__all__ = ["INDEX", "PAGE", "PICTURE", "Result", "report_results", "write_page"]
