import copy

import torch
from data import EPOCHS, X_train, X_val, y_train, y_val
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(42)
train = TensorDataset(torch.tensor(X_train), torch.tensor(y_train))
val = TensorDataset(torch.tensor(X_val), torch.tensor(y_val))
train_loader = DataLoader(train, batch_size=32, shuffle=True)
val_loader = DataLoader(val, batch_size=32)
model = nn.Sequential(
    nn.Linear(10, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.2),
    nn.Linear(64, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Dropout(0.2),
    nn.Linear(32, 1),
)  # fmt: skip
criterion = nn.MSELoss()
optimizer = optim.Adam(model.parameters(), lr=0.001)
scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.2, patience=5)
best, kept = float("inf"), {}
for epoch in range(EPOCHS):
    model.train()
    train_loss = 0.0
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        train_loss += loss.item() * inputs.size(0)
    model.eval()
    val_loss = 0.0
    with torch.no_grad():
        for inputs, targets in val_loader:
            val_loss += criterion(model(inputs), targets).item() * inputs.size(0)
    train_loss /= len(train)
    val_loss /= len(val)
    scheduler.step(val_loss)
    if val_loss < best:
        best, kept = val_loss, copy.deepcopy(model.state_dict())
    print(f"Epoch {epoch + 1}/{EPOCHS}, Train Loss: {train_loss:.4f}, Val Loss: {val_loss:.4f}")
model.load_state_dict(kept)
print(val_loss)
