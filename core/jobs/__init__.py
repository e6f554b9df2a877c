"""What can be asked of the engine and what it answers, as frozen values that travel as JSON.

This module is light: pydantic and the standard library only. The same job value runs from the window, the command
line and a test. Shapes are in numpy order everywhere: the last number is the row length (llama.cpp prints them
reversed). Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from core.jobs.chat import ChatJob as ChatJob
from core.jobs.chat import ChatLoaded as ChatLoaded
from core.jobs.chat import ChatResult as ChatResult
from core.jobs.chat import ChatSessionJob as ChatSessionJob
from core.jobs.chat import ChatTurn as ChatTurn
from core.jobs.chat import Message as Message
from core.jobs.chat import Sampling as Sampling
from core.jobs.checkpoints import ActivationFigures as ActivationFigures
from core.jobs.checkpoints import CheckpointJob as CheckpointJob
from core.jobs.checkpoints import CheckpointManyJob as CheckpointManyJob
from core.jobs.checkpoints import CheckpointManyResult as CheckpointManyResult
from core.jobs.checkpoints import CheckpointPlanJob as CheckpointPlanJob
from core.jobs.checkpoints import CheckpointPreflightJob as CheckpointPreflightJob
from core.jobs.checkpoints import CheckpointResult as CheckpointResult
from core.jobs.checkpoints import ClippingFigures as ClippingFigures
from core.jobs.checkpoints import ExpertCoverage as ExpertCoverage
from core.jobs.checkpoints import Histogram as Histogram
from core.jobs.checkpoints import MethodOptions as MethodOptions
from core.jobs.checkpoints import MethodRule as MethodRule
from core.jobs.estimating import EstimateJob as EstimateJob
from core.jobs.estimating import EstimateResult as EstimateResult
from core.jobs.estimating import FormEstimate as FormEstimate
from core.jobs.evaluation import AS_RUN as AS_RUN
from core.jobs.evaluation import CONTEXT as CONTEXT
from core.jobs.evaluation import QUICK_CHUNKS as QUICK_CHUNKS
from core.jobs.evaluation import Category as Category
from core.jobs.evaluation import CategoryEvaluation as CategoryEvaluation
from core.jobs.evaluation import Disagreement as Disagreement
from core.jobs.evaluation import EvaluateJob as EvaluateJob
from core.jobs.evaluation import EvaluateResult as EvaluateResult
from core.jobs.evaluation import EvaluationFigures as EvaluationFigures
from core.jobs.evaluation import ModelEvaluation as ModelEvaluation
from core.jobs.hub import DownloadedFile as DownloadedFile
from core.jobs.hub import DownloadJob as DownloadJob
from core.jobs.hub import DownloadResult as DownloadResult
from core.jobs.hub import HubModel as HubModel
from core.jobs.hub import SearchJob as SearchJob
from core.jobs.hub import SearchResult as SearchResult
from core.jobs.hub import SkippedFile as SkippedFile
from core.jobs.hub import SortOrder as SortOrder
from core.jobs.hub_cache import CachedRepo as CachedRepo
from core.jobs.hub_cache import CachedRevision as CachedRevision
from core.jobs.hub_cache import HubCacheJob as HubCacheJob
from core.jobs.hub_cache import HubCacheResult as HubCacheResult
from core.jobs.hub_cache import PartialDownload as PartialDownload
from core.jobs.hub_cache import TrashItem as TrashItem
from core.jobs.hub_cache import TrashJob as TrashJob
from core.jobs.hub_cache import TrashResult as TrashResult
from core.jobs.hub_cache import Use as Use
from core.jobs.hub_page import AccountJob as AccountJob
from core.jobs.hub_page import AccountResult as AccountResult
from core.jobs.hub_page import FitForm as FitForm
from core.jobs.hub_page import FitJob as FitJob
from core.jobs.hub_page import FitResult as FitResult
from core.jobs.hub_page import HubFile as HubFile
from core.jobs.hub_page import HubPage as HubPage
from core.jobs.hub_page import HubPageJob as HubPageJob
from core.jobs.hub_page import HubRevision as HubRevision
from core.jobs.hub_page import HubVariant as HubVariant
from core.jobs.hub_page import TokenSource as TokenSource
from core.jobs.importance import ImatrixJob as ImatrixJob
from core.jobs.importance import ImatrixResult as ImatrixResult
from core.jobs.importance import ImatrixTensor as ImatrixTensor
from core.jobs.measuring import MeasurePreflightJob as MeasurePreflightJob
from core.jobs.models import InspectJob as InspectJob
from core.jobs.models import MetadataRow as MetadataRow
from core.jobs.models import ModelSummary as ModelSummary
from core.jobs.models import ScanJob as ScanJob
from core.jobs.models import ScanProblem as ScanProblem
from core.jobs.models import ScanResult as ScanResult
from core.jobs.models import TensorInfo as TensorInfo
from core.jobs.models import TensorStats as TensorStats
from core.jobs.models import TensorStatsJob as TensorStatsJob
from core.jobs.publishing import UploadedFile as UploadedFile
from core.jobs.publishing import UploadJob as UploadJob
from core.jobs.publishing import UploadResult as UploadResult
from core.jobs.quantizing import Check as Check
from core.jobs.quantizing import CompareJob as CompareJob
from core.jobs.quantizing import CompareResult as CompareResult
from core.jobs.quantizing import ErrorFigures as ErrorFigures
from core.jobs.quantizing import Fit as Fit
from core.jobs.quantizing import GptqOptions as GptqOptions
from core.jobs.quantizing import KeyOverride as KeyOverride
from core.jobs.quantizing import LayerFigures as LayerFigures
from core.jobs.quantizing import Override as Override
from core.jobs.quantizing import Plan as Plan
from core.jobs.quantizing import PlanJob as PlanJob
from core.jobs.quantizing import PreflightJob as PreflightJob
from core.jobs.quantizing import PreflightResult as PreflightResult
from core.jobs.quantizing import QuantizeJob as QuantizeJob
from core.jobs.quantizing import QuantizeManyJob as QuantizeManyJob
from core.jobs.quantizing import QuantizeManyResult as QuantizeManyResult
from core.jobs.quantizing import QuantizeOptions as QuantizeOptions
from core.jobs.quantizing import QuantizeResult as QuantizeResult
from core.jobs.quantizing import TensorPlan as TensorPlan
from core.jobs.quantizing import TensorResult as TensorResult
from core.jobs.quantizing import VerifyJob as VerifyJob
from core.jobs.quantizing import VerifyResult as VerifyResult
from core.jobs.quantizing import output_errors as output_errors
from core.jobs.quantizing import results_of as results_of
from core.jobs.sensitivity import RANKING_CHUNKS as RANKING_CHUNKS
from core.jobs.sensitivity import RANKING_CONTEXT as RANKING_CONTEXT
from core.jobs.sensitivity import Grain as Grain
from core.jobs.sensitivity import Piece as Piece
from core.jobs.sensitivity import PieceTensor as PieceTensor
from core.jobs.sensitivity import SensitivityFigures as SensitivityFigures
from core.jobs.sensitivity import SensitivityJob as SensitivityJob
from core.jobs.sensitivity import SensitivityResult as SensitivityResult
from core.values import Value as Value

Job = Annotated[
    InspectJob
    | ScanJob
    | TensorStatsJob
    | PlanJob
    | QuantizeJob
    | QuantizeManyJob
    | CheckpointPlanJob
    | CheckpointPreflightJob
    | CheckpointJob
    | CheckpointManyJob
    | EstimateJob
    | PreflightJob
    | VerifyJob
    | CompareJob
    | ChatJob
    | ChatSessionJob
    | ImatrixJob
    | SearchJob
    | DownloadJob
    | HubPageJob
    | FitJob
    | AccountJob
    | HubCacheJob
    | TrashJob
    | UploadJob
    | EvaluateJob
    | SensitivityJob
    | MeasurePreflightJob,
    Field(discriminator="kind"),
]


JOB: TypeAdapter[Job] = TypeAdapter(Job)


def kept(job: Job, *, keep: bool, resume: bool) -> Job:
    """A job that keeps what it has done when it is stopped, and goes on with it, or does not; as far as it can."""
    known = type(job).model_fields
    wanted = {"keep_unfinished": keep, "resume": resume}
    return job.model_copy(update={name: value for name, value in wanted.items() if name in known})


def outputs_of(job: Value) -> tuple[str, ...]:
    """The paths that a job writes; none for one that only answers."""
    if isinstance(job, QuantizeManyJob):
        return job.outputs
    output = getattr(job, "output", "")
    return (output,) if output else ()


Result = (
    ModelSummary
    | ScanResult
    | TensorStats
    | Plan
    | CheckpointResult
    | QuantizeResult
    | CheckpointManyResult
    | QuantizeManyResult
    | EstimateResult
    | PreflightResult
    | VerifyResult
    | CompareResult
    | ChatResult
    | ImatrixResult
    | SearchResult
    | DownloadResult
    | HubPage
    | FitResult
    | AccountResult
    | HubCacheResult
    | TrashResult
    | UploadResult
    | EvaluateResult
    | SensitivityResult
)


RESULT_TYPES: dict[str, type[Value]] = {
    "inspect": ModelSummary,
    "scan": ScanResult,
    "tensor_stats": TensorStats,
    "plan": Plan,
    "quantize": QuantizeResult,
    "quantize_many": QuantizeManyResult,
    "checkpoint_plan": Plan,
    "checkpoint_preflight": PreflightResult,
    "checkpoint": CheckpointResult,
    "checkpoint_many": CheckpointManyResult,
    "estimate": EstimateResult,
    "preflight": PreflightResult,
    "verify": VerifyResult,
    "compare": CompareResult,
    "chat": ChatResult,
    "imatrix": ImatrixResult,
    "search": SearchResult,
    "download": DownloadResult,
    "hub_page": HubPage,
    "fit": FitResult,
    "account": AccountResult,
    "hub_cache": HubCacheResult,
    "trash": TrashResult,
    "upload": UploadResult,
    "evaluate": EvaluateResult,
    "sensitivity": SensitivityResult,
    "measure_preflight": PreflightResult,
}
