"""Networks, the LightningModule, and how it is fitted, used for prediction, saved and loaded."""
