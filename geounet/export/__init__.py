"""A model taken elsewhere: ONNX, `torch.export`, Deepness in QGIS, a STAC catalogue."""

from geounet.export.exporting import export_model
from geounet.export.settings import FORMS, ExportSettings, Form

__all__ = ["FORMS", "ExportSettings", "Form", "export_model"]
