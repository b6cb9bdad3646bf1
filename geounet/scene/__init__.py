"""Reading acquisitions: the one door through which pixels come in.

Past it everything is reflectance by band name with a boolean `valid`; nodata, scale and offset are
dealt with here and nowhere else.
"""

from geounet.scene.clouds import CloudOptions
from geounet.scene.kinds import check_scene_arguments
from geounet.scene.lists import read_scene_list
from geounet.scene.product import SceneOptions
from geounet.scene.raster import Pixels, gdal_environment, is_there
from geounet.scene.reflectance import Scaling
from geounet.scene.remote import without_query
from geounet.scene.scene import Scene, open_scene
from geounet.scene.stac_documents import expand_sources

__all__ = [
    "CloudOptions",
    "Pixels",
    "Scaling",
    "Scene",
    "SceneOptions",
    "check_scene_arguments",
    "expand_sources",
    "gdal_environment",
    "is_there",
    "open_scene",
    "read_scene_list",
    "without_query",
]
