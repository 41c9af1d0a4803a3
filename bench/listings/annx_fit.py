import annx
from annx import nn
from annx.callbacks import ReduceLROnPlateau
from annx.optim import Adam
from data import EPOCHS, X_train, X_val, y_train, y_val

annx.manual_seed(42)
model = nn.Sequential(
    nn.Linear(10, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.2),
    nn.Linear(64, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Dropout(0.2),
    nn.Linear(32, 1),
)  # fmt: skip
model.compile(loss="mse", optimizer=Adam(model.parameters(), lr=0.001), metrics=["mae"])
history = model.fit(
    X_train, y_train, epochs=EPOCHS, batch_size=32, validation_data=(X_val, y_val),
    callbacks=[ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=5, min_lr=1e-6)],
    verbose=2,
)  # fmt: skip
print(history.history["val_loss"][-1])
