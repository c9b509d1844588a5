"""What pipelines share: their networks run in an engine, and are in memory only when they have to be."""

import paddle
from ppdiffusers import DiffusionPipeline

from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.environment import return_freed_memory
from ppdiffusers_ext.pipelines.engines import make_engine
from ppdiffusers_ext.pipelines.memory import get_rung


class NetworkPipeline(DiffusionPipeline):
    """A pipeline whose networks run through `_run`.

    Attributes:
        network_names: of the modules that are networks.
    """

    network_names = ()

    def __init__(self):
        super().__init__()
        self.use_networks({})
        self._engine = make_engine("eager")
        self.use_memory()

    def register_modules(self, **modules):
        super().register_modules(**modules)
        # Our classes by the package alone, so that a saved pipeline outlives a change of module names.
        own = {name: part for name, part in modules.items() if type(part).__module__.startswith("ppdiffusers_ext.")}
        self.register_to_config(**{name: ("ppdiffusers_ext", type(part).__name__) for name, part in own.items()})

    def use_networks(self, networks):
        """Have weights come from somewhere, for models that were made without.

        Args:
            networks: name of each of the pipeline's models -> `Network` of it.
        """
        self._networks = dict(networks)

    def use_engine(self, engine="eager", cache_folder=None, precision="float32"):
        """Have the networks run in a compiled engine.

        Args:
            engine: "eager", "inference" (Paddle Inference), "onnx" (ONNX Runtime), "openvino", or "auto" for the
                fastest of them if it pays for the clip, its export included. Each new set of shapes is exported
                once, compared, and kept on the disk.
            cache_folder: where; the user's cache folder if left out.
            precision: what a compiled engine computes in. In "float32" numbers are those of Paddle to 1e-3 of the
                largest; "bfloat16", for "openvino", is faster on a processor that has such arithmetic, has
                weights of half the size, and is refused if its signal is not 30 dB above its noise.

        Raises:
            InputError: no such engine, it is not installed, or it cannot run these networks or in this precision.
        """
        engine = make_engine(engine, cache_folder, precision=precision)
        for name in self.network_names:
            engine.check(self._network(name))
        self._engine = engine

    def use_memory(self, rung="high"):
        """Choose what is kept in memory: "high", "medium", "low" or "minimal"; see `pipelines.memory`.

        The rung's options are arguments of the call; here it is decided whether networks leave the memory when they
        have done their part. Only those that come from files (`use_networks`) can.
        """
        self._releases = get_rung(rung).releases

    def _done_with(self, name):
        """A network has done its part: it leaves the memory if the rung says so, what it worked with does anyway."""
        leave = self._engine.release if self._releases else self._engine.rest
        leave(self._network(name))
        return_freed_memory()

    def _network(self, name):
        model = getattr(self, name)
        if name not in self._networks or self._networks[name].model is not model:  # the user may have replaced it
            self._networks[name] = Network(model)
        return self._networks[name]

    @property
    def needs_weights(self):
        """Whether the networks' weights are needed in any case; a compiled engine may have what it needs."""
        return self._engine.needs_weights

    @property
    def preparation_seconds(self):
        """What a compiled engine has taken so far to make, check and open exports; 0 without one."""
        return self._engine.preparation_seconds

    def _run(self, name, what, function, tensor, calls=1):
        """What a function of one of the networks makes of a tensor, in the engine."""
        (result,) = self._engine.run(self._network(name), what, lambda x: [function(x)], {"x": tensor}, calls)
        return result

    def _fill(self, rows, size, is_first):
        """The last few rows of many: as they are, or as many as before if other shapes cost the engine time."""
        missing = size - rows.shape[0]
        if is_first or not missing or not self._engine.fixed_shapes:
            return rows
        return paddle.concat([rows, rows[-1:].expand([missing, *rows.shape[1:]])])
