"""Many scenes, or one huge one, over Dask."""

from geounet.cluster.crew import Crew, local_crew, scheduled_crew
from geounet.cluster.several import run_scenes_with

__all__ = ["Crew", "local_crew", "run_scenes_with", "scheduled_crew"]
