from .process import SandboxEnvironment as SandboxEnvironment
from .process import running_sandbox as running_sandbox
