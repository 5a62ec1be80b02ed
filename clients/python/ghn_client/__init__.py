from .errors import GhnError, TraceError
from .tracing import trace
