"""From photographs and videos to tables: named action units and expressions of every face in every frame."""

from analysis.run import Analysis, Outcome, analyze, analyze_to_file

__all__ = ["Analysis", "Outcome", "analyze", "analyze_to_file"]
