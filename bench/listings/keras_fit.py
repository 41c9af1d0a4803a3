import keras
from data import EPOCHS, X_train, X_val, y_train, y_val
from keras import layers

keras.utils.set_random_seed(42)
model = keras.Sequential(
    [
        keras.Input((10,)),
        layers.Dense(64, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.2),
        layers.Dense(32, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.2),
        layers.Dense(1),
    ]
)  # fmt: skip
model.compile(loss="mse", optimizer=keras.optimizers.Adam(learning_rate=0.001), metrics=["mae"])
reduce_lr = keras.callbacks.ReduceLROnPlateau(
    monitor="val_loss", factor=0.2, patience=5, min_lr=1e-6
)
history = model.fit(
    X_train, y_train, epochs=EPOCHS, batch_size=32, validation_data=(X_val, y_val),
    callbacks=[reduce_lr], verbose=2,
)  # fmt: skip
print(history.history["val_loss"][-1])
