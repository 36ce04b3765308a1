"""Making labels from predictions: which row gets which label, from where, with which weight."""
