"""Progress of a training run: a bar on a terminal, one line an epoch elsewhere."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.training.lightning import pl

# Redrawing at every batch would cost more than some batches do.
_EVERY_BATCHES = 10
_FIGURES = {"loss": "train/loss", "accuracy": "train/accuracy", "held out": "validation/accuracy"}


class EpochProgress(pl.callbacks.ProgressBar):
    """One bar over all batches of all epochs, titled with the run and its latest figures."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.run = self.bar.add_task(title)

    def disable(self) -> None:
        self.bar.disable = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.update(self.run, total=(trainer.max_epochs or 0) * int(trainer.num_training_batches))
        self.bar.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        if batch_idx % _EVERY_BATCHES == 0:
            done = trainer.current_epoch * int(trainer.num_training_batches) + batch_idx + 1
            self.bar.update(self.run, completed=done)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figures = trainer.callback_metrics
        line = f"{self.title}: epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        # Accuracy is absent where the objective observes nothing, and validation where no rows are held out.
        for name, key in _FIGURES.items():
            if key in figures:
                line += f", {name} {figures[key]:.4f}"
        done = (trainer.current_epoch + 1) * int(trainer.num_training_batches)
        self.bar.update(self.run, description=line, completed=done)
        if not self.console.is_terminal:
            self.console.print(line, highlight=False, soft_wrap=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()
